//! A bank built on Actum: accounts, balances and credit limits over HTTP. Copy it to start.
//!
//! Read `account.rs` first: the rules about money. `balance.rs` and `credit_limit.rs` answer
//! questions, `http.rs` is the wire format, `cli.rs` the command line.

#[expect(missing_docs, reason = "an amount is an amount, a limit a limit")]
pub mod account;
pub mod balance;
pub mod credit_limit;
mod health;
mod history;
mod http;

pub use http::routes;
