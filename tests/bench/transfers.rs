//! Transfers between accounts: from the request until the process manager has completed them, and what
//! a hundred thousand open deadlines cost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actum::store::{Filter, PageLimit};
use actum::{Application, CommandOptions, StartPosition, StreamVersion};
use example_bank::account::{Account, AccountCommand, AccountEvent};
use example_bank::transfer::{FREE_UP_TO, Order, Transfer, TransferCommand, Transfers};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::accounts::{self, ACCOUNTS};
use crate::database::Store;
use crate::measure::{Round, cpu_time, drive, resident_mib};
use crate::options::Options;
use crate::random::Random;
use crate::{Outcome, table};

const IN_FLIGHT: u64 = 256;
/// Events of one transfer: requested, out, in and completed.
const EVENTS: f64 = 4.0;
/// Transfers that wait for their approval.
const WAITING: u64 = 100_000;
/// Commands that are scheduled for another day.
const SCHEDULED: u64 = 10_000;
/// Time over which the cost of waiting is measured, after it has settled.
const MEASURED: Duration = Duration::from_secs(15);

pub async fn run(options: &Options, store: Store) -> Outcome {
    table::heading(
        store,
        "transfers between 1000 accounts, from the request until they are completed",
    );
    let database = store.fresh(options).await?;
    let builder = database.application().await?.aggregate::<Account>().aggregate::<Transfer>();
    let builder = builder.answers_later::<Account>();
    let app = builder.process_manager::<Transfers>(StartPosition::Beginning).start().await?;
    accounts::open_all(&app).await?;
    for account in 0..ACCOUNTS {
        let command = AccountCommand::Credit { amount: 1 << 40 };
        app.execute::<Account>(&accounts::id(account), command).await?;
    }
    let single = accounts::credit_many(&app, 0..IN_FLIGHT, 0..ACCOUNTS, options.round).await?;
    table::line("single commands, 256 in flight", &single, None, None, "");
    let completions = Completions::follow(&app).await?;
    let (sender, to) = (app.clone(), Arc::clone(&completions));
    let transfer = move |random| transfer(sender.clone(), Arc::clone(&to), random);
    let round = drive(0..IN_FLIGHT, options.round, transfer).await?;
    let ratio = EVENTS * round.rate() / single.rate();
    let note = format!("appends {ratio:.2} of the single commands");
    table::line("transfers, 256 in flight", &round, None, None, &note);
    let half = at_rate(&app, &completions, round.rate() / 2.0, options.round).await?;
    table::line("transfers at half of that rate", &half, None, None, "");
    waiting(&app).await?;
    app.shutdown().await;
    Ok(())
}

/// Requests a transfer of one cent between two accounts, and waits until it is completed.
async fn transfer(app: Application, completions: Arc<Completions>, random: u64) -> Outcome {
    let (from, to) = (random % ACCOUNTS, (random / ACCOUNTS) % (ACCOUNTS - 1));
    let to = if to == from { ACCOUNTS - 1 } else { to };
    let id = Uuid::now_v7().to_string();
    let completed = completions.expect(&id);
    request(&app, &id, (from, to), 1).await?;
    Ok(completed.await?)
}

async fn request(app: &Application, id: &str, (from, to): (u64, u64), amount: i64) -> Outcome {
    let (from, to) = (accounts::id(from), accounts::id(to));
    let order = Order { from, to, amount, reference: None };
    app.execute::<Transfer>(id, TransferCommand::Request(order)).await?;
    Ok(())
}

/// Transfers that come at a rate, however long each takes.
async fn at_rate(
    app: &Application,
    completions: &Arc<Completions>,
    rate: f64,
    round: Duration,
) -> Outcome<Round> {
    let (mut random, mut running) = (Random::new(1), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let (before, began) = (cpu_time("self")?, Instant::now());
    while began.elapsed() < round {
        ticks.tick().await;
        let (app, completions) = (app.clone(), Arc::clone(completions));
        let transfer = transfer(app, completions, random.below(u64::MAX));
        running.push(tokio::spawn(async move {
            let sent = Instant::now();
            transfer.await.map(|()| sent.elapsed())
        }));
    }
    let elapsed = began.elapsed();
    let cpu = cpu_time("self")?.saturating_sub(before);
    let mut latencies = Vec::new();
    for running in running {
        latencies.push(running.await??);
    }
    Ok(Round::of(latencies, elapsed, cpu))
}

/// Cost of open deadlines and of scheduled commands.
async fn waiting(app: &Application) -> Outcome {
    let sender = app.clone();
    let waits = move |random: u64| {
        let (app, caller) = (sender.clone(), random % IN_FLIGHT);
        async move {
            let id = Uuid::now_v7().to_string();
            request(&app, &id, (caller, caller + 1), FREE_UP_TO + 1).await
        }
    };
    at_once(WAITING, waits).await?;
    idle(app, &format!("{WAITING} open deadlines")).await?;
    let sender = app.clone();
    let scheduled = move |_| {
        let app = sender.clone();
        async move {
            let at = time::OffsetDateTime::now_utc() + Duration::from_secs(24 * 60 * 60);
            schedule(&app, &Uuid::now_v7().to_string(), at).await
        }
    };
    at_once(SCHEDULED, scheduled).await?;
    idle(app, &format!("and {SCHEDULED} scheduled commands")).await
}

/// Does something so often, as many at a time as transfers are in flight.
async fn at_once<F>(times: u64, act: impl Fn(u64) -> F + Clone + Send + 'static) -> Outcome
where
    F: Future<Output = Outcome> + Send,
{
    let callers: Vec<_> = (0..IN_FLIGHT)
        .map(|caller| {
            let act = act.clone();
            tokio::spawn(async move {
                for number in (caller..times).step_by(IN_FLIGHT as usize) {
                    act(number).await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

/// Cost of what is open while nothing is due, and how late a scheduled command is beside it.
async fn idle(app: &Application, open: &str) -> Outcome {
    let head = app.store().head().await?;
    let is_behind = async || {
        let status = app.operations().status().await;
        let mut partitions = status.subscriptions.iter().flat_map(|it| &it.partitions);
        partitions.any(|partition| partition.position < Some(head))
    };
    while is_behind().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cpu_time("self")?;
    tokio::time::sleep(MEASURED).await;
    let cpu = cpu_time("self")?.saturating_sub(before);
    let share = 100.0 * cpu.as_secs_f64() / MEASURED.as_secs_f64();
    let mut lateness = Vec::new();
    for _ in 0..10 {
        lateness.push(how_late(app).await?);
    }
    let worst = lateness.iter().max().copied().unwrap_or_default();
    println!(
        "{open}: {share:.2} % of a core while idle, {} MiB; a scheduled command is at most {:.1} ms \
         late",
        resident_mib()?,
        worst.as_secs_f64() * 1000.0
    );
    Ok(())
}

/// Schedules the opening of an account.
async fn schedule(app: &Application, account: &str, at: time::OffsetDateTime) -> Outcome {
    let (owner, currency) = ("Ada".to_owned(), "EUR".to_owned());
    let command = AccountCommand::Open { owner, currency, number: None };
    app.schedule::<Account>(account, &command, at, CommandOptions::default()).await?;
    Ok(())
}

/// Time between the time of a scheduled command and its event.
async fn how_late(app: &Application) -> Outcome<Duration> {
    let at = time::OffsetDateTime::now_utc() + Duration::from_millis(1_500);
    let account = Uuid::now_v7().to_string();
    schedule(app, &account, at).await?;
    loop {
        let events = app.history::<Account>(&account, StreamVersion::ZERO, 1).await?;
        if let Some(event) = events.first() {
            assert!(matches!(event.event, AccountEvent::Opened { .. }));
            return Ok((event.recorded_at - at).try_into().unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tells who waits when a transfer is completed, from the log itself.
struct Completions {
    waiting: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

impl Completions {
    async fn follow(app: &Application) -> Outcome<Arc<Self>> {
        let completions = Arc::new(Self { waiting: Mutex::default() });
        let (own, app) = (Arc::clone(&completions), app.clone());
        let mut after = app.store().head().await?;
        tokio::spawn(async move {
            let mut head = app.store().watch_head();
            let filter = Filter { aggregate_types: vec!["transfer".to_owned()] };
            while head.wait_for(|head| *head > after).await.is_ok() {
                let page = app.store().read_all(after, &filter, PageLimit::events(1_000)).await;
                let Ok(page) = page else { return };
                after = page.scanned_to.max(after);
                for event in page.events.iter().filter(|event| event.event_type == "Completed") {
                    own.complete(event.stream.id());
                }
            }
        });
        Ok(completions)
    }

    fn expect(&self, id: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(id.to_owned(), sender);
        receiver
    }

    fn complete(&self, id: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waits) = waiting.remove(id) {
            let _ = waits.send(()); // the round may be over
        }
    }
}
