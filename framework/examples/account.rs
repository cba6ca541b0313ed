//! A complete application in one file: an account, its balance, a test, and HTTP over SQLite.
//!
//! Run it: `cargo run -p actum --example account --features actix-web,testing`, then
//! `curl localhost:8080/accounts/42/credit -H 'Content-Type: application/json' -d '{"amount": 1250}'`
//! and `curl localhost:8080/accounts/42`. Test it: the same with `cargo test`.

use actix_web::web::{Data, Path};
use actix_web::{App, HttpServer};
use actum::web::{CommandAnswer, CommandHeaders, DocumentAnswer, Freshness, JsonBody, Problem};
use actum::web::{RefusalCode, Routes, strict_input};
use actum::{Aggregate, Application, EventEnvelope, Fold, ReadModel, Sources};
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

#[derive(Debug, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("only {available} can be withdrawn")]
    InsufficientFunds { available: i64 },
}

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

impl RefusalCode for Refusal {
    fn code(&self) -> &'static str {
        "insufficient_funds"
    }
}

#[derive(Serialize, Deserialize)]
struct Amount {
    amount: u32,
}

type Answer<T = CommandAnswer> = Result<T, Problem>;
type Bank = Data<Application>;
type Id = Path<String>;

async fn credit(app: Bank, id: Id, headers: CommandHeaders, body: JsonBody<Amount>) -> Answer {
    let command = AccountCommand::Credit { amount: body.amount };
    let committed = app.execute_with::<Account>(&id, command, headers.options(&body)?).await?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}

async fn withdraw(app: Bank, id: Id, headers: CommandHeaders, body: JsonBody<Amount>) -> Answer {
    let command = AccountCommand::Withdraw { amount: body.amount };
    let committed = app.execute_with::<Account>(&id, command, headers.options(&body)?).await?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}

async fn balance(app: Bank, id: Id, how: Freshness) -> Answer<DocumentAnswer<Balance>> {
    let document = how.read(&app, &id).await?;
    Ok(DocumentAnswer::of(id.into_inner(), document))
}

#[actix_web::main]
async fn main() -> Result<(), actum::BoxError> {
    let store = actum::SqliteStore::open("account.db").await?;
    let builder = Application::builder(store).aggregate::<Account>().read_model::<Balance>();
    let app = builder.start().await?;
    let routes = Routes::default()
        .post("/accounts/{id}/credit", "anyone", credit)
        .post("/accounts/{id}/withdraw", "anyone", withdraw)
        .get("/accounts/{id}", "anyone", balance);
    let served = Data::new(app.clone());
    let server = HttpServer::new(move || {
        let app = App::new().configure(strict_input).app_data(served.clone());
        app.configure(|config| routes.configure(config))
    });
    server.bind("127.0.0.1:8080")?.run().await?;
    app.shutdown().await;
    Ok(())
}

#[test]
fn an_account_cannot_be_overdrawn() {
    actum::testing::Scenario::<Account>::given([AccountEvent::Credited { amount: 100 }])
        .when(AccountCommand::Withdraw { amount: 200 })
        .then_refused(Refusal::InsufficientFunds { available: 100 });
}
