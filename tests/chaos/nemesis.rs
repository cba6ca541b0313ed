//! Two banks on one server under faults: kills, lost sessions, crashes of the server, lost replies.
//! Afterwards plain SQL checks their promises.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use tokio::time::sleep;

use super::driver::{ACCOUNTS, Driver, IMPATIENT, OPENING, Outcome, Sent, Worker};
use super::log::LogRow;
use super::{documents, log, rounds};
use crate::support::child::BankProcess;
use crate::support::postgres::Server;
use crate::support::proxy::Proxy;
use crate::support::waiting::poll;

/// Number of times that each fault is injected.
const TIMES: usize = 20;
const WORKERS: usize = 8;

/// Time limit after a fault for both banks to succeed again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A bank is killed, and started again.
    Kill,
    /// Sessions are ended by the server.
    Terminate,
    /// The server crashes, and is started again.
    Crash,
    /// An append is carried out, and its reply lost.
    Swallow,
}

struct Nemesis {
    server: Server,
    /// Each bank has its own.
    proxies: [Proxy; 2],
    banks: [Option<BankProcess>; 2],
    driver: Arc<Driver>,
    slowest: Duration,
}

impl Nemesis {
    async fn new() -> Self {
        let server = Server::private().await;
        let proxies = [Proxy::start(server.port()).await, Proxy::start(server.port()).await];
        let (driver, slowest) = (Arc::default(), Duration::ZERO);
        let mut nemesis = Self { server, proxies, banks: [None, None], driver, slowest };
        nemesis.start(0);
        nemesis.start(1);
        nemesis
    }

    fn start(&mut self, bank: usize) {
        let url = self.server.url_by(self.proxies[bank].port());
        let started = BankProcess::start(&url, &[]).expect("a bank did not start");
        *self.driver.addresses[bank].lock().unwrap() = started.address().to_owned();
        self.banks[bank] = Some(started);
    }

    async fn strike(&mut self, fault: Fault, time: usize) {
        match fault {
            Fault::Kill => {
                self.banks[time % 2] = None;
                self.start(time % 2);
            }
            Fault::Terminate => {
                let which = ["true", "query LIKE '%actum.append(%'", "pid % 3 = 0"][time % 3];
                self.terminate(which).await;
            }
            Fault::Crash => {
                self.server.crash().await;
                self.server.start().await;
            }
            Fault::Swallow => {
                let proxy = &self.proxies[time % 2];
                let before = proxy.swallowed();
                proxy.swallow_replies_to("actum.append(", 1);
                until("a reply is lost", || proxy.swallowed() > before).await;
            }
        }
    }

    /// Ends the sessions of the banks for which the condition holds, at least one.
    async fn terminate(&self, which: &str) {
        let mut connection = self.server.connect().await;
        let terminate = format!(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = 'actum' AND {which}"
        );
        let began = Instant::now();
        while began.elapsed() < RECOVERED_WITHIN {
            let terminate = sqlx::query_scalar(AssertSqlSafe(terminate.clone()));
            let ended: i64 = terminate.fetch_one(&mut connection).await.unwrap();
            if ended > 0 {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("there was no session with {which}");
    }

    /// Returns when both banks have succeeded again, by themselves.
    async fn recovered(&mut self) {
        let (healed, driver) = (Instant::now(), Arc::clone(&self.driver));
        let successes = || driver.successes.each_ref().map(|count| count.load(Ordering::Relaxed));
        let before = successes();
        until("both banks succeed again", || {
            successes().iter().zip(before).all(|(now, before)| *now > before + 2)
        })
        .await;
        self.slowest = self.slowest.max(healed.elapsed());
    }

    /// Settles what is in doubt: with the banks that knew of it gone, no attempt is under way. How
    /// many had been refused while one was, and how many of these had been stored all the same.
    fn settle(&mut self, history: &mut Vec<Sent>) -> [usize; 2] {
        for bank in 0..2 {
            let ended = self.banks[bank].take().map(BankProcess::terminate);
            assert!(ended.unwrap().success(), "a bank did not end with 0");
            self.start(bank);
        }
        let driver = Arc::clone(&self.driver);
        let mut worker = Worker::new(&driver, 4711, RECOVERED_WITHIN);
        let (end, mut doubtful, mut stored) = (driver.acknowledged(), 0, 0);
        for sent in history.iter_mut().filter(|sent| sent.outcome == Outcome::Open) {
            sent.unknown = 0;
            worker.settle(sent);
            doubtful += 1;
            if let Outcome::Committed(position) = sent.outcome {
                assert!(position > sent.refused_after, "refused when it was stored: {sent:?}");
                stored += usize::from(position <= end);
                worker.complete(sent);
            }
        }
        history.append(&mut worker.history);
        [doubtful, stored]
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    poll(RECOVERED_WITHIN, async || if holds() { Ok(()) } else { Err(what) }).await;
}

/// Checks that the log holds exactly the acknowledged bookings, and that the sum of all balances is
/// right at every position.
fn check(log: &[LogRow], history: &[Sent]) {
    let mut sent: HashMap<&str, &Sent> = HashMap::new();
    assert!(history.iter().all(|one| sent.insert(&one.key, one).is_none()));
    let stored: HashMap<&str, &LogRow> =
        log.iter().filter_map(|row| Some((row.command.as_deref()?, row))).collect();
    for one in history {
        let row = stored.get(&*one.key);
        let position = match one.outcome {
            Outcome::Committed(position) => Some(position),
            Outcome::Refused | Outcome::GivenUp => None,
            Outcome::Open => panic!("not settled: {one:?}"),
        };
        assert_eq!(row.map(|row| row.position), position, "{one:?} is {row:?}");
    }
    let (mut balances, mut on_the_way) = (HashMap::<&str, i64>::new(), HashMap::new());
    for row in log.iter().filter(|row| row.name != "Opened") {
        let Some(key) = row.command.as_deref() else { panic!("nobody asked for {row:?}") };
        let Some(one) = sent.get(key) else { panic!("nobody asked for {row:?}") };
        let (stream, amount) = (format!("account-{}", one.account), row.amount.unwrap());
        assert_eq!((&row.stream, &*row.name, amount), (&stream, one.name, one.amount), "{one:?}");
        let balance = balances.entry(&row.stream).or_default();
        match key.rsplit_once('-').unwrap() {
            (transfer, "out") => {
                *balance -= amount;
                on_the_way.insert(transfer, amount);
            }
            (transfer, "in") => {
                *balance += amount;
                assert_eq!(on_the_way.remove(transfer), Some(amount), "never withdrawn: {one:?}");
            }
            _ => *balance += amount,
        }
        assert!(*balance >= 0, "overdrawn at {row:?}");
    }
    assert!(on_the_way.is_empty(), "withdrawn and never credited: {on_the_way:?}");
    assert_eq!(balances.values().sum::<i64>(), ACCOUNTS as i64 * OPENING);
}

/// Promises 1, 2, 3 and 4, with two processes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn whatever_befalls_two_banks_and_their_server_each_command_acts_once_and_no_money_is_lost() {
    let mut nemesis = Nemesis::new().await;
    let driver = Arc::clone(&nemesis.driver);
    let mut first = Worker::new(&driver, 1, RECOVERED_WITHIN);
    first.open_accounts();
    let mut history = std::mem::take(&mut first.history);
    let workers = (0..WORKERS).map(|name| {
        let driver = Arc::clone(&driver);
        std::thread::spawn(move || Worker::new(&driver, 100 + name as u64, IMPATIENT).run(name))
    });
    let workers: Vec<_> = workers.collect();
    let faults = [Fault::Kill, Fault::Terminate, Fault::Crash, Fault::Swallow];
    for time in 0..TIMES * rounds() {
        for fault in faults {
            nemesis.strike(fault, time).await;
            nemesis.recovered().await;
        }
    }
    driver.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        history.append(&mut worker.join().unwrap());
    }
    let [doubtful, overtaken] = nemesis.settle(&mut history);

    let log = log::read(&mut nemesis.server.connect().await).await;
    check(&log, &history);
    documents::check(&mut nemesis.server.connect().await).await;
    let swallowed: usize = nemesis.proxies.iter().map(Proxy::swallowed).sum();
    let resolved = driver.resolved.load(Ordering::Relaxed);
    assert!(
        swallowed >= TIMES * rounds() && resolved > 0,
        "nothing was proved: {swallowed}, {resolved}"
    );
    println!(
        "survived {} each of killed banks, ended sessions, crashed servers and lost replies: {} \
         commands, {} of them stored, each once; {resolved} unknown outcomes had been stored; of \
         {doubtful} refusals after an unknown outcome {overtaken} were wrong in the end; slowest \
         recovery {:?}",
        TIMES * rounds(),
        history.len(),
        log.len(),
        nemesis.slowest
    );
}
