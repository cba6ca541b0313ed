//! The bank's accounts that commands go to, and the applications that run them.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actum::store::{Append, AppendOutcome, EventStore, NewEvent};
use actum::{Application, ExpectedVersion, GlobalPosition, ReadError, StreamId};
use example_bank::account::{Account, AccountCommand};
use example_bank::balance::Balance;
use example_bank::credit_limit::CreditLimit;
use uuid::Uuid;

use crate::Outcome;
use crate::database::BenchDatabase;
use crate::measure::{Round, drive};

/// Number of accounts that the commands are spread over.
pub const ACCOUNTS: u64 = 1000;

/// Id of an account.
pub fn id(account: u64) -> String {
    format!("account-{account}")
}

/// The read models that run beside the commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ReadModels {
    None,
    Both,
}

/// The bank on this database with the default settings.
pub async fn bank(database: &BenchDatabase, read_models: ReadModels) -> Outcome<Application> {
    let builder = database.application().await?.aggregate::<Account>();
    let builder = match read_models {
        ReadModels::None => builder,
        ReadModels::Both => builder.read_model::<Balance>().read_model::<CreditLimit>(),
    };
    Ok(builder.start().await?)
}

pub async fn open(app: &Application, account: &str) -> Outcome {
    let command =
        AccountCommand::Open { owner: "Ada".into(), currency: "EUR".into(), number: None };
    app.execute::<Account>(account, command).await?;
    Ok(())
}

/// Opens all accounts, many at a time.
pub async fn open_all(app: &Application) -> Outcome {
    let opening: Vec<_> = (0..ACCOUNTS)
        .map(|account| {
            let app = app.clone();
            tokio::spawn(async move { open(&app, &id(account)).await })
        })
        .collect();
    for opened in opening {
        opened.await??;
    }
    Ok(())
}

/// A deposit: one command, one event.
pub async fn credit(app: &Application, account: &str) -> Outcome {
    app.execute::<Account>(account, AccountCommand::Credit { amount: 1 }).await?;
    Ok(())
}

/// Deposits into these accounts, from these callers at once.
pub async fn credit_many(
    app: &Application,
    callers: Range<u64>,
    accounts: Range<u64>,
    round: Duration,
) -> Outcome<Round> {
    let ids: Arc<[String]> = accounts.map(id).collect();
    let app = app.clone();
    let command = move |random| {
        let (app, ids) = (app.clone(), Arc::clone(&ids));
        async move { credit(&app, &ids[random as usize % ids.len()]).await }
    };
    drive(callers, round, command).await
}

/// Deposits written past the actors, as history to read: much faster than commands.
pub fn deposits(account: &str, count: usize) -> Outcome<Append> {
    let event = || NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "Credited".into(),
        schema_version: 1,
        payload: Arc::from("{\"amount\":1}"),
        metadata: Arc::from("{\"correlation_id\":\"0193a1b2-7c3d-7e4f-8a5b-6c7d8e9fa0b1\"}"),
    };
    Ok(Append {
        stream: StreamId::new("account", account)?,
        expected: ExpectedVersion::Any,
        events: (0..count).map(|_| event()).collect(),
        command: None,
        claims: vec![],
        chained: false,
    })
}

/// Appends all, or fails with the first outcome that is not a commit.
pub async fn append(store: &dyn EventStore, appends: Vec<Append>) -> Outcome {
    for outcome in store.append(appends).await {
        if !matches!(outcome, AppendOutcome::Committed(_)) {
            return Err(format!("{outcome:?}").into());
        }
    }
    Ok(())
}

/// Seconds until the read models have reached the head of the log.
pub async fn lag(app: &Application, read_models: ReadModels) -> Outcome<f64> {
    let began = Instant::now();
    if read_models == ReadModels::Both {
        wait_for(app, app.store().head().await?).await?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Waits until both read models have seen this position.
pub async fn wait_for(app: &Application, position: GlobalPosition) -> Outcome {
    while let Err(ReadError::NotYet { .. }) = app.read::<Balance>(&id(0)).after(position).await {}
    while let Err(ReadError::NotYet { .. }) = app.read::<CreditLimit>(&id(0)).after(position).await
    {
    }
    let balance = app.read::<Balance>(&id(0)).after(position).await?.position;
    let limit = app.read::<CreditLimit>(&id(0)).after(position).await?.position;
    match balance.min(limit) < position {
        true => Err("a read model answered before it had seen the position".into()),
        false => Ok(()),
    }
}
