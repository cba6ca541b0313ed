//! Transfers between accounts of the bank: each ends once, with its money in one place, whatever the
//! accounts refuse, whenever a process dies, and however often a client repeats its request.

mod crashes;
pub mod ledger;
mod outcomes;
mod over_http;
mod standing_orders;

use actum::store::{Clock, EventStore, Filter, PageLimit, SystemClock};
use actum::testing::ManualClock;
use actum::{Application, CommandOptions, GlobalPosition, Metadata, StartPosition, StreamVersion};
use example_bank::account::{Account, AccountCommand};
use example_bank::standing_order::{StandingOrder, StandingOrders};
use example_bank::standing_order_status::StandingOrderStatus;
use example_bank::transfer::{Order, Transfer, TransferCommand, TransferEvent, Transfers};

use self::ledger::{Ledger, Row};
use crate::support::place::{Place, open_postgres, open_sqlite};
use crate::support::waiting::until;

/// A bank on a clock that the test moves. In memory it has no statement, which is SQL.
async fn start(place: &Place, clock: &ManualClock) -> Application {
    let builder = match place {
        Place::Memory(_) => {
            let builder = place.builder().await.aggregate::<Account>().aggregate::<Transfer>();
            let builder = builder.process_manager::<Transfers>(StartPosition::Beginning);
            let builder = builder.aggregate::<StandingOrder>();
            let builder = builder.process_manager::<StandingOrders>(StartPosition::Beginning);
            builder.read_model::<StandingOrderStatus>()
        }
        _ => example_bank::application(place.open().await),
    };
    builder.name("bank").clock(clock.clone()).start().await.unwrap()
}

/// A clock that stands at the machine's time, which the store records.
fn standing() -> ManualClock {
    let clock = ManualClock::new();
    clock.set(SystemClock.now());
    clock
}

/// An open account of its namesake with this balance in euros' cents.
async fn account(app: &Application, owner: &str, balance: i64) {
    account_in(app, owner, balance, "EUR").await;
}

async fn account_in(app: &Application, owner: &str, balance: i64, currency: &str) {
    let (name, currency) = (owner.to_owned(), currency.to_owned());
    tell(app, owner, AccountCommand::Open { owner: name, currency, number: None }).await;
    if balance > 0 {
        tell(app, owner, AccountCommand::Credit { amount: balance }).await;
    }
}

async fn tell(app: &Application, account: &str, command: AccountCommand) {
    app.execute::<Account>(account, command).await.unwrap();
}

fn by(actor: &str) -> CommandOptions {
    let metadata = Metadata { actor: Some(actor.to_owned()), ..Metadata::default() };
    CommandOptions { metadata, ..CommandOptions::default() }
}

/// Requests a transfer on behalf of the source account's namesake.
async fn request(app: &Application, id: &str, (from, to): (&str, &str), amount: i64) {
    let order = Order { from: from.into(), to: to.into(), amount, reference: None };
    let (command, options) = (TransferCommand::Request(order), by(&format!("user:{from}")));
    app.execute_with::<Transfer>(id, command, options).await.unwrap();
}

/// The events of a transfer after its request.
async fn events(app: &Application, id: &str) -> Vec<TransferEvent> {
    let events = app.history::<Transfer>(id, StreamVersion(1), 10).await.unwrap();
    events.into_iter().map(|envelope| envelope.event).collect()
}

/// Waits until the transfer has more events than its request, and compares them.
async fn ends(app: &Application, id: &str, expected: &[TransferEvent]) {
    until(async || events(app, id).await.len() >= expected.len()).await;
    assert_eq!(events(app, id).await, expected);
}

/// Stops the bank, and checks its whole log.
async fn ledger(app: Application, place: &Place) -> Ledger {
    app.shutdown().await;
    drop(app);
    let (after, filter, limit) = (GlobalPosition::ZERO, Filter::all(), PageLimit::events(10_000));
    let page = match place {
        Place::Memory(store) => store.read_all(after, &filter, limit).await,
        Place::Sqlite(directory) => {
            open_sqlite(directory).await.read_all(after, &filter, limit).await
        }
        Place::Postgres(database) => {
            open_postgres(database).await.read_all(after, &filter, limit).await
        }
    };
    let events = page.unwrap().events;
    let rows = events.iter().map(|event| {
        (event.stream.as_str().to_owned(), event.event_type.clone(), event.payload.clone())
    });
    Ledger::of(&rows.collect::<Vec<Row>>())
}
