//! Workers that move money between accounts at two banks, and remember what they were told.
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

/// How long a worker waits for one answer while things break.
pub const IMPATIENT: Duration = Duration::from_millis(400);

/// How long a command may stay without a definite answer, whatever happens.
const DEFINITE_WITHIN: Duration = Duration::from_secs(60);

/// A command and what is known of it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub key: String,
    pub account: u64,
    /// Of its event.
    pub name: &'static str,
    pub amount: i64,
    /// What had been acknowledged before it was sent first.
    after: i64,
    /// How many attempts had no definite answer.
    pub unknown: u32,
    /// What had been acknowledged when it was asked for that time when it was refused.
    pub refused_after: i64,
    pub outcome: Outcome,
}

/// What became of a command, as far as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    Committed(i64),
    Refused,
    /// The bank said that nothing was stored, and it was not asked again.
    GivenUp,
    /// No definite answer, or a refusal while an earlier attempt may still be under way.
    Open,
}

enum Answer {
    Committed(i64),
    Refused,
    NotStored,
    Unknown,
}

/// What the workers share.
#[derive(Default)]
pub struct Driver {
    pub addresses: [Mutex<String>; 2],
    /// The last position that was acknowledged to anybody.
    acknowledged: AtomicI64,
    /// How many commands each bank has acknowledged.
    pub successes: [AtomicU64; 2],
    /// How many commands had been stored by an attempt whose outcome was unknown.
    pub resolved: AtomicU64,
    pub stop: AtomicBool,
}

impl Driver {
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

/// One of those who send.
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

    /// Transfers until told to stop.
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

    /// Sends again what was carried out before: the answer is the same.
    fn repeat(&mut self) {
        let (which, bank) =
            (self.random.below(self.history.len() as u64), self.random.below(2) as usize);
        let sent = self.history[which as usize].clone();
        let Outcome::Committed(position) = sent.outcome else { return };
        if let Answer::Committed(again) = self.attempt(&sent, bank) {
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

    /// Asks until the answer is definite.
    pub fn settle(&mut self, sent: &mut Sent) {
        let (began, mut bank) = (Instant::now(), self.random.below(2) as usize);
        while began.elapsed() < DEFINITE_WITHIN {
            let before = self.driver.acknowledged();
            match self.attempt(sent, bank) {
                Answer::Committed(position) => {
                    assert!(position > sent.after, "older than what came before: {sent:?}");
                    // It is older than something acknowledged before it was asked for this time.
                    let resolved = sent.unknown > 0 && position <= before;
                    self.driver.resolved.fetch_add(resolved.into(), Ordering::Relaxed);
                    self.driver.acknowledged.fetch_max(position, Ordering::SeqCst);
                    self.driver.successes[bank].fetch_add(1, Ordering::Relaxed);
                    sent.outcome = Outcome::Committed(position);
                    return;
                }
                Answer::Refused => {
                    sent.refused_after = before;
                    sent.outcome = if sent.unknown == 0 { Outcome::Refused } else { Outcome::Open };
                    return;
                }
                Answer::NotStored if sent.unknown == 0 && sent.name == "Withdrawn" => {
                    sent.outcome = Outcome::GivenUp;
                    return;
                }
                Answer::NotStored => {}
                Answer::Unknown => sent.unknown += 1,
            }
            sleep(Duration::from_millis(10));
            bank = self.random.below(2) as usize;
        }
        panic!("no definite answer within {DEFINITE_WITHIN:?}: {sent:?}");
    }

    fn attempt(&mut self, sent: &Sent, bank: usize) -> Answer {
        self.ask(sent, bank).unwrap_or_else(|_| {
            // A late answer must not be taken for the next one's.
            self.clients[bank] = None;
            Answer::Unknown
        })
    }

    fn ask(&mut self, sent: &Sent, bank: usize) -> io::Result<Answer> {
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
            (200, _) => Answer::Committed(answer.body["position"].as_i64().unwrap()),
            (422, Some("insufficient_funds")) => Answer::Refused,
            (503, Some("unavailable")) | (409, Some("conflict")) => Answer::NotStored,
            (503, Some("outcome_unknown")) | (409, Some("still_running")) => Answer::Unknown,
            _ => panic!("{sent:?}: {answer:?}"),
        })
    }
}
