//! A complete application in one file: an account, its balance, a test, and HTTP over SQLite.
//!
//! Run it: `cargo run -p actum --example account --features web,testing`, then
//! `curl localhost:8080/accounts/42/credit -H 'Content-Type: application/json' -d '{"amount": 1250}'`
//! and `curl localhost:8080/accounts/42`. Test it: the same with `cargo test`.

use actix_web::web::{Data, Path};
use actum::web::{
    CommandAnswer, CommandTo, DocumentAnswer, Freshness, JsonBody, Problem, Routes, Server,
};
use actum::{Aggregate, Application, EventEnvelope, Fold, ReadModel, RefusalCode, Sources};
use serde::{Deserialize, Serialize};

// The aggregate: what can be asked, what can have happened, why not.

#[derive(Default, Clone)]
struct Account {
    balance: i64,
}

#[derive(Clone)]
enum AccountCommand {
    Credit { amount: u32 },
    Withdraw { amount: u32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Credited { amount: u32 },
    Withdrawn { amount: u32 },
}

#[derive(Debug, PartialEq, Serialize, thiserror::Error)]
enum Refusal {
    #[error("only {available} can be withdrawn")]
    InsufficientFunds { available: i64 },
}

impl RefusalCode for Refusal {} // over HTTP: 422 `insufficient_funds`

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = Refusal;

    fn handle(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, Refusal> {
        match command {
            AccountCommand::Credit { amount } => Ok(vec![AccountEvent::Credited { amount }]),
            AccountCommand::Withdraw { amount } if i64::from(amount) > self.balance => {
                Err(Refusal::InsufficientFunds { available: self.balance })
            }
            AccountCommand::Withdraw { amount } => Ok(vec![AccountEvent::Withdrawn { amount }]),
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        match *event {
            AccountEvent::Credited { amount } => self.balance += i64::from(amount),
            AccountEvent::Withdrawn { amount } => self.balance -= i64::from(amount),
        }
    }
}

// The read model: one document for each account, kept up to date from the events.

#[derive(Default, Clone, Serialize, Deserialize)]
struct Balance {
    balance: i64,
}

impl ReadModel for Balance {
    const NAME: &'static str = "balance";

    fn sources() -> Sources<Self> {
        Sources::of::<Account>()
    }
}

impl Fold<Account> for Balance {
    fn apply(&mut self, envelope: &EventEnvelope<AccountEvent>) {
        match envelope.event {
            AccountEvent::Credited { amount } => self.balance += i64::from(amount),
            AccountEvent::Withdrawn { amount } => self.balance -= i64::from(amount),
        }
    }
}

// The routes.

#[derive(Serialize, Deserialize)]
struct Amount {
    amount: u32,
}

type Answer<T = CommandAnswer> = Result<T, Problem>;

async fn credit(account: CommandTo<Account>, body: JsonBody<Amount>) -> Answer {
    account.execute(AccountCommand::Credit { amount: body.amount }, &body).await
}

async fn withdraw(account: CommandTo<Account>, body: JsonBody<Amount>) -> Answer {
    account.execute(AccountCommand::Withdraw { amount: body.amount }, &body).await
}

async fn balance(
    app: Data<Application>,
    id: Path<String>,
    freshness: Freshness,
) -> Answer<DocumentAnswer<Balance>> {
    Ok(freshness.read(&app, &id).await?)
}

#[actix_web::main]
async fn main() -> Result<(), actum::BoxError> {
    let builder = Application::builder(actum::open("sqlite:account.db").await?);
    let app = builder.aggregate::<Account>().read_model::<Balance>().start().await?;
    let routes = Routes::new()
        .post("/accounts/{id}/credit", credit)
        .post("/accounts/{id}/withdraw", withdraw)
        .get("/accounts/{id}", balance);
    Server::new(app).routes(routes).serve("127.0.0.1:8080").run().await?;
    Ok(())
}

#[test]
fn an_account_cannot_be_overdrawn() {
    actum::testing::Scenario::<Account>::given([AccountEvent::Credited { amount: 100 }])
        .when(AccountCommand::Withdraw { amount: 200 })
        .then_refused(Refusal::InsufficientFunds { available: 100 });
}
