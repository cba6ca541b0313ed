//! Workers that move money between accounts at two banks, and remember every answer.
//!
//! A transfer is a withdrawal and, once that is certain, a credit. An impatient worker asks again
//! with the same key, at either bank, until the answer is definite. A driver is never killed.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::http::Client;
use crate::support::random::Random;

pub const ACCOUNTS: u64 = 6;
pub const OPENING: i64 = 1_000;

/// Timeout of a worker for one answer while faults are injected.
pub const IMPATIENT: Duration = Duration::from_millis(400);

/// Longest time that a command may stay without a definite answer.
const DEFINITE_WITHIN: Duration = Duration::from_secs(60);

/// A command and its known outcome.
#[derive(Debug, Clone)]
pub struct Sent {
    pub key: String,
    pub account: u64,
    /// Name of the event type.
    pub name: &'static str,
    pub amount: i64,
    /// Last position that was acknowledged before the first attempt.
    after: i64,
    /// Number of attempts without a definite answer.
    pub unknown: u32,
    /// Last position that was acknowledged before the attempt that was refused.
    pub refused_after: i64,
    pub outcome: Outcome,
}

/// Outcome of a command as far as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    Committed(i64),
    Refused,
    /// The bank answered that nothing was stored, and the worker did not retry.
    GivenUp,
    /// No definite answer, or a refusal while an earlier attempt may still be under way.
    Open,
}

enum Attempt {
    Committed(i64),
    Refused,
    NotStored,
    Unknown,
}

/// State that the workers share.
#[derive(Default)]
pub struct Driver {
    pub addresses: [Mutex<String>; 2],
    /// The last position that was acknowledged to anybody.
    acknowledged: AtomicI64,
    /// Number of commands that each bank has acknowledged.
    pub successes: [AtomicU64; 2],
    /// Number of commands that turned out to be stored by an attempt with an unknown outcome.
    pub resolved: AtomicU64,
    pub stop: AtomicBool,
}

impl Driver {
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

/// One of the senders.
pub struct Worker<'a> {
    driver: &'a Driver,
    random: Random,
    patience: Duration,
    /// A connection to each bank, and which address it leads to.
    clients: [Option<(String, Client)>; 2],
    pub history: Vec<Sent>,
}

impl<'a> Worker<'a> {
    pub fn new(driver: &'a Driver, seed: u64, patience: Duration) -> Self {
        Self {
            driver,
            random: Random::new(seed),
            patience,
            clients: [None, None],
            history: Vec::new(),
        }
    }

    /// Opens the accounts and gives each its first money.
    pub fn open_accounts(&mut self) {
        for account in 0..ACCOUNTS {
            let body = format!(r#"{{"id":"{account}","owner":"Ada","currency":"EUR"}}"#);
            let address = self.driver.addresses[0].lock().unwrap().clone();
            let mut client = Client::connect(&address).unwrap();
            let key = format!("open-{account}");
            assert_eq!(client.post("/accounts", &body, Some(&key)).unwrap().status, 201);
            self.carry_out(format!("first-{account}"), account, "Credited", OPENING);
        }
    }

    /// Makes transfers until the driver stops.
    pub fn run(mut self, name: usize) -> Vec<Sent> {
        for n in 0.. {
            if self.driver.stop.load(Ordering::Relaxed) {
                break;
            }
            let (from, amount) = (self.random.below(ACCOUNTS), 1 + self.random.below(400) as i64);
            let out = self.carry_out(format!("{name}-{n}-out"), from, "Withdrawn", amount);
            if matches!(out.outcome, Outcome::Committed(_)) {
                self.complete(&out);
                self.repeat();
            }
        }
        self.history
    }

    /// The second half of a transfer.
    pub fn complete(&mut self, out: &Sent) {
        let to = (out.account + 1 + self.random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let key = out.key.replace("-out", "-in");
        let credited = self.carry_out(key, to, "Credited", out.amount);
        assert!(matches!(credited.outcome, Outcome::Committed(_)), "{credited:?}");
    }

    /// Sends an executed command again and expects the same answer.
    fn repeat(&mut self) {
        let (which, bank) =
            (self.random.below(self.history.len() as u64), self.random.below(2) as usize);
        let sent = self.history[which as usize].clone();
        let Outcome::Committed(position) = sent.outcome else { return };
        if let Attempt::Committed(again) = self.attempt(&sent, bank) {
            assert_eq!(again, position, "a repeated command was answered otherwise: {sent:?}");
        }
    }

    fn carry_out(&mut self, key: String, account: u64, name: &'static str, amount: i64) -> Sent {
        let after = self.driver.acknowledged();
        let (unknown, refused_after, outcome) = (0, 0, Outcome::Open);
        let mut sent = Sent { key, account, name, amount, after, unknown, refused_after, outcome };
        self.settle(&mut sent);
        self.history.push(sent.clone());
        sent
    }

    /// Sends the command again until its outcome is definite.
    pub fn settle(&mut self, sent: &mut Sent) {
        let (began, mut bank) = (Instant::now(), self.random.below(2) as usize);
        while began.elapsed() < DEFINITE_WITHIN {
            let before = self.driver.acknowledged();
            match self.attempt(sent, bank) {
                Attempt::Committed(position) => {
                    assert!(position > sent.after, "older than what came before: {sent:?}");
                    // The position is older than one that was acknowledged before this attempt.
                    let resolved = sent.unknown > 0 && position <= before;
                    self.driver.resolved.fetch_add(resolved.into(), Ordering::Relaxed);
                    self.driver.acknowledged.fetch_max(position, Ordering::SeqCst);
                    self.driver.successes[bank].fetch_add(1, Ordering::Relaxed);
                    sent.outcome = Outcome::Committed(position);
                    return;
                }
                Attempt::Refused => {
                    sent.refused_after = before;
                    sent.outcome = if sent.unknown == 0 { Outcome::Refused } else { Outcome::Open };
                    return;
                }
                Attempt::NotStored if sent.unknown == 0 && sent.name == "Withdrawn" => {
                    sent.outcome = Outcome::GivenUp;
                    return;
                }
                Attempt::NotStored => {}
                Attempt::Unknown => sent.unknown += 1,
            }
            sleep(Duration::from_millis(10));
            bank = self.random.below(2) as usize;
        }
        panic!("no definite answer within {DEFINITE_WITHIN:?}: {sent:?}");
    }

    fn attempt(&mut self, sent: &Sent, bank: usize) -> Attempt {
        self.ask(sent, bank).unwrap_or_else(|_| {
            // A late answer must not be taken for the next one's.
            self.clients[bank] = None;
            Attempt::Unknown
        })
    }

    fn ask(&mut self, sent: &Sent, bank: usize) -> io::Result<Attempt> {
        let address = self.driver.addresses[bank].lock().unwrap().clone();
        let patience = self.patience;
        let there = &mut self.clients[bank];
        if there.as_ref().is_none_or(|(connected, _)| *connected != address) {
            let client = Client::connect(&address)?.patience(patience)?;
            *there = Some((address, client));
        }
        let Some((_, client)) = there else { unreachable!("it was connected just now") };
        let verb = if sent.name == "Credited" { "credit" } else { "withdraw" };
        let path = format!("/accounts/{}/{verb}", sent.account);
        let body = format!(r#"{{"amount":{}}}"#, sent.amount);
        let answer = client.post(&path, &body, Some(&sent.key))?;
        Ok(match (answer.status, answer.body["code"].as_str()) {
            (200, _) => Attempt::Committed(answer.body["position"].as_i64().unwrap()),
            (422, Some("insufficient_funds")) => Attempt::Refused,
            (503, Some("unavailable")) | (409, Some("conflict")) => Attempt::NotStored,
            (503, Some("outcome_unknown")) | (409, Some("still_running")) => Attempt::Unknown,
            _ => panic!("{sent:?}: {answer:?}"),
        })
    }
}
