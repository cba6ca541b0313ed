//! A bank built on Actum: accounts, balances and credit limits over HTTP. Copy it to start your own
//! application.
//!
//! Read `account.rs` first: it has the rules about money. `balance.rs`, `credit_limit.rs` and
//! `statement.rs` are the read side, `user.rs` has unique names, `transfer.rs` moves money between two
//! accounts, `standing_order.rs` does so each month, `welcome.rs` sends mails, `http.rs` has the routes,
//! `cli.rs` the command line, and `serve.rs` starts the server.

#[expect(missing_docs, reason = "an amount is an amount, a limit a limit")]
pub mod account;
mod backup;
pub mod balance;
mod calling;
mod cli;
mod credentials;
pub mod credit_limit;
mod http;
mod limits;
mod serve;
#[expect(missing_docs, reason = "an amount is an amount, a limit a limit")]
pub mod standing_order;
pub mod standing_order_status;
pub mod statement;
#[expect(missing_docs, reason = "an amount is an amount, a limit a limit")]
pub mod transfer;
pub mod transfer_status;
pub mod user;
pub mod welcome;

use actum::web::{ApiKeyFormat, Callback};
use actum::{AnyStore, Application, ApplicationBuilder, StartPosition};

pub use cli::run;
pub use credentials::Credentials;
pub use http::routes;

/// Scope for reading accounts.
pub const READ: &str = "accounts:read";
/// Scope for sending commands to accounts.
pub const WRITE: &str = "accounts:write";
/// Scope for operating the bank.
pub const OPERATE: &str = "bank:operate";

/// Format of the bank's API keys.
pub const KEYS: ApiKeyFormat = ApiKeyFormat { mark: "bank", scopes: &[READ, WRITE, OPERATE] };

/// Builds the bank's application on this store; `.start()` runs it.
pub fn application(store: impl Into<AnyStore>) -> ApplicationBuilder {
    Application::builder(store)
        .aggregate::<account::Account>()
        .answers_later::<account::Account>()
        .aggregate::<transfer::Transfer>()
        .process_manager::<transfer::Transfers>(StartPosition::Beginning)
        .aggregate::<standing_order::StandingOrder>()
        .process_manager::<standing_order::StandingOrders>(StartPosition::Beginning)
        .aggregate::<Callback>()
        .aggregate::<user::User>()
        .read_model::<balance::Balance>()
        .read_model::<credit_limit::CreditLimit>()
        .read_model::<transfer_status::TransferStatus>()
        .read_model::<standing_order_status::StandingOrderStatus>()
        .projection::<statement::Statement>()
}
