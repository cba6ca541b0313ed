//! Owners of the read models of two banks while the owning bank is killed, stopped for longer than
//! its lease lasts, or shut down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::{documents, rounds, saves};
use crate::support::child::{BankProcess, StopOnDrop};
use crate::support::http::Client;
use crate::support::postgres::{Database, database};
use crate::support::proxy::Proxy;

/// Time limit for reads on one bank of the other bank's writes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// More than twice as long as a lease holds.
const STOPPED_FOR: Duration = Duration::from_secs(7);

/// Two banks; the first to start owns both read models.
struct Banks {
    database: Database,
    banks: [Option<BankProcess>; 2],
}

impl Banks {
    async fn new() -> Self {
        let database = database().await;
        let mut banks = Self { banks: [None, None], database };
        banks.start(0, banks.database.port());
        saves::note(&mut banks.database.connect().await).await;
        banks.start(1, banks.database.port());
        let opening = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
        assert_eq!(banks.client(0).post("/accounts", opening, None).unwrap().status, 201);
        banks
    }

    /// Starts one, with its number as the application name of its sessions.
    fn start(&mut self, bank: usize, port: u16) {
        let url = format!("{}&application_name=bank-{bank}", self.database.url_by(port));
        self.banks[bank] = Some(BankProcess::start(&url, &[]).expect("a bank did not start"));
    }

    /// Makes a bank the owner of both read models, with its sessions by this port.
    async fn own_by(&mut self, bank: usize, port: u16) {
        self.banks[bank] = None;
        self.start(bank, port);
        let owners = self.owners().await;
        let other = self.banks[1 - bank].take().unwrap();
        assert!(other.terminate().success());
        while self.owners().await.iter().any(|owner| owners.contains(owner)) {
            sleep(Duration::from_millis(50)).await;
        }
        self.start(1 - bank, self.database.port());
    }

    fn bank(&self, bank: usize) -> &BankProcess {
        self.banks[bank].as_ref().unwrap()
    }

    fn client(&self, bank: usize) -> Client {
        self.bank(bank).client()
    }

    /// Returns the least token of the leases of the read models that [`read_after`] waits for. The
    /// flag is true if both leases are free or have changed their owner.
    async fn leases(&self, were: &[String]) -> (i64, bool) {
        let leases: (i64, bool) = sqlx::query_as(
            "SELECT min(token), bool_and(expires_at <= clock_timestamp() OR owner::text <> ALL ($1))
             FROM actum.leases WHERE name ~ '^(balance|credit_limit)@'",
        )
        .bind(were)
        .fetch_one(&mut self.database.connect().await)
        .await
        .unwrap();
        leases
    }

    async fn owners(&self) -> Vec<String> {
        let owners = sqlx::query_scalar(
            "SELECT owner::text FROM actum.leases WHERE name ~ '^(balance|credit_limit)@'
             ORDER BY name",
        );
        owners.fetch_all(&mut self.database.connect().await).await.unwrap()
    }
}

fn credit(client: &mut Client) -> i64 {
    let answer = client.post("/accounts/1/credit", r#"{"amount":1}"#, None).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["position"].as_i64().unwrap()
}

/// Both documents of the account, read at a bank as of a position; it may say "not yet" for a time.
fn read_after(client: &mut Client, position: i64) -> [Value; 2] {
    ["balance", "credit-limit"].map(|document| {
        let began = Instant::now();
        loop {
            let path = format!("/accounts/1/{document}?after={position}");
            let mut answer = client.get(&path).unwrap();
            if answer.status == 200 {
                let read = answer.body.as_object_mut().unwrap().remove("position");
                assert!(read.unwrap().as_i64().unwrap() >= position, "{answer:?}");
                return answer.body;
            }
            assert_eq!(answer.status, 504, "{answer:?}");
            assert!(began.elapsed() < ANSWERED_WITHIN, "{path} is never answered");
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn both_banks_answer_alike_after_any_write_at_either() {
    let banks = Banks::new().await;
    let mut clients = [banks.client(0), banks.client(1)];
    for n in 1..=40 * rounds() {
        let position = credit(&mut clients[n % 2]);
        let read = clients.each_mut().map(|client| read_after(client, position));
        assert_eq!(read[0], read[1]);
        assert_eq!(read[0][0]["balance"], n);
    }
    documents::check(&mut banks.database.connect().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn when_the_owner_is_killed_the_other_takes_over_and_answers() {
    let mut banks = Banks::new().await;
    let kills = 2 * rounds();
    for n in 0..kills {
        // The one that was started last is the standby.
        let (owner, standby) = (n % 2, 1 - n % 2);
        let (owners, (token, _)) = (banks.owners().await, banks.leases(&[]).await);
        for _ in 0..20 {
            credit(&mut banks.client(owner));
        }
        banks.banks[owner] = None;
        let mut client = banks.client(standby);
        let position = credit(&mut client);
        let [balance, _] = read_after(&mut client, position);
        assert_eq!(balance["balance"], 21 * (n + 1));
        let (taken, is_anothers) = banks.leases(&owners).await;
        assert!(taken > token && is_anothers, "nobody took over, and still it was answered");
        banks.start(owner, banks.database.port());
    }
    documents::check(&mut banks.database.connect().await).await;
    println!("survived {kills} killed owners of read models");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_owner_that_is_told_to_stop_hands_over_without_waiting_for_its_lease_to_end() {
    let mut banks = Banks::new().await;
    for n in 0..3 * rounds() {
        let (owner, standby) = (n % 2, 1 - n % 2);
        let owners = banks.owners().await;
        credit(&mut banks.client(owner));
        assert!(banks.banks[owner].take().unwrap().terminate().success());
        let (_, is_free) = banks.leases(&owners).await;
        assert!(is_free, "its leases are held though it is gone");
        let mut client = banks.client(standby);
        let position = credit(&mut client);
        assert_eq!(read_after(&mut client, position)[0]["balance"], 2 * (n + 1));
        banks.start(owner, banks.database.port());
    }
    documents::check(&mut banks.database.connect().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_owner_that_sleeps_through_its_lease_writes_nothing_when_it_wakes() {
    let mut banks = Banks::new().await;
    let proxy = Proxy::start(banks.database.port()).await;
    let (mut stops, mut refused) = (0, 0);
    // A save whose reply was on its way when the owner was stopped is not late, so the round is
    // repeated.
    for n in 0..rounds() + 4 {
        let (owner, standby) = (n % 2, 1 - n % 2);
        // The proxy delays the owner's last statements until it owns nothing any more.
        banks.own_by(owner, proxy.port()).await;
        let (owners, (token, _)) = (banks.owners().await, banks.leases(&[]).await);
        let awake = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut client = banks.client(standby);
                while !awake.load(Ordering::Relaxed) {
                    credit(&mut client);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let stopped = StopOnDrop(&awake);
            std::thread::sleep(Duration::from_millis(500));
            proxy.delay(STOPPED_FOR);
            std::thread::sleep(Duration::from_millis(200));
            banks.bank(owner).signal("STOP");
            std::thread::sleep(STOPPED_FOR);
            proxy.pass();
            banks.bank(owner).signal("CONT");
            std::thread::sleep(Duration::from_secs(1));
            drop(stopped);
            load.join().unwrap();
        });
        let (taken, is_anothers) = banks.leases(&owners).await;
        assert!(taken > token && is_anothers, "nobody took over: nothing was proved");
        let position = credit(&mut banks.client(standby));
        let read = [0, 1].map(|bank| read_after(&mut banks.client(bank), position));
        assert_eq!(read[0], read[1]);
        documents::check(&mut banks.database.connect().await).await;
        let mut noted = saves::check(&mut banks.database.connect().await).await;
        // The others have little to save here, because nothing is deferred and nothing transferred.
        let is_busy =
            |name: &str| ["balance@", "credit_limit@"].iter().any(|it| name.starts_with(it));
        noted.saved.retain(|name, _| is_busy(name));
        assert!(
            noted.saved.len() == 2 && noted.saved.values().all(|saves| *saves > 10),
            "{noted:?}"
        );
        refused = noted.refused;
        stops = n + 1;
        if stops >= rounds() && refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "no save came too late: nothing was proved");
    println!("survived {stops} stopped owners of read models: {refused} late saves were refused");
}
