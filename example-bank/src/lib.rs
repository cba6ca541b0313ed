//! A bank built on Actum: accounts, balances and credit limits over HTTP. Copy it to start your own
//! application.
//!
//! Read `account.rs` first: it has the rules about money. `balance.rs`, `credit_limit.rs` and
//! `statement.rs` are the read side, `user.rs` has unique names, `http.rs` the wire format,
//! `access.rs` the authentication, `cli.rs` the command line, and `server.rs` the listeners.

pub mod access;
#[expect(missing_docs, reason = "an amount is an amount, a limit a limit")]
pub mod account;
mod backup;
pub mod balance;
#[expect(missing_docs, reason = "an address is an address")]
pub mod callback;
mod calling;
mod cli;
pub mod credit_limit;
mod http;
mod limits;
mod server;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(not(target_os = "linux"))]
#[path = "socket_off.rs"]
mod socket;
pub mod statement;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
mod tls;
pub mod user;
mod vital;

use actum::{AnyStore, Application, ApplicationBuilder};

pub use access::Access;
pub use cli::run;
pub use http::{Policy, document, operations, operations_table, routes, table};

/// Builds the bank's application on this store; `.start()` runs it.
pub fn application(store: impl Into<AnyStore>) -> ApplicationBuilder {
    Application::builder(store)
        .aggregate::<account::Account>()
        .answers_later::<account::Account>()
        .aggregate::<callback::Callback>()
        .aggregate::<user::User>()
        .read_model::<balance::Balance>()
        .read_model::<credit_limit::CreditLimit>()
        .projection::<statement::Statement>()
}
