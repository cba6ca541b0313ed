//! The bank is shutting down and crashes before it has ended: the same promises as for any other
//! crash.
//!
//! The clients keep their connections open, so that the bank has something to wait for.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::{ACCOUNTS, Credit, WORKERS, check, credit, open_accounts, settle};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::random::Random;

/// Credits until the bank no longer answers as it should; the connection stays open.
fn until_it_stops(address: &str, worker: String) -> (Vec<Credit>, Client) {
    let (mut sent, mut client) = (Vec::new(), Client::connect(address).unwrap());
    for n in 0.. {
        let (key, account) = (format!("{worker}-{n}"), n % ACCOUNTS);
        let mut next = Credit { key, account, amount: 1 + n as u64 % 5, position: None };
        let failed = credit(&mut client, &mut next).is_err();
        let unanswered = next.position.is_none();
        sent.push(next);
        if failed || unanswered {
            break;
        }
    }
    (sent, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_drains_it_loses_nothing_acknowledged() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let (mut history, mut killed, mut random) = (Vec::new(), 0, Random::new(4711));
    for round in 0..8 {
        // Half of the kills meet the commands that are finished, half the connections' end.
        let span = if round % 2 == 0 { 12 } else { 1200 };
        let kill_after = Duration::from_millis(random.below(span));
        let mut bank = BankProcess::start(&store, &[]).unwrap();
        open_accounts(&bank);
        let mut sent: Vec<Credit> = std::thread::scope(|scope| {
            let (address, bank) = (bank.address(), &bank);
            let start = |worker| scope.spawn(move || until_it_stops(address, worker));
            let workers: Vec<_> =
                (0..WORKERS).map(|worker| start(format!("{round}-{worker}"))).collect();
            std::thread::sleep(Duration::from_millis(100));
            bank.signal("TERM");
            std::thread::sleep(kill_after);
            bank.signal("KILL");
            let ended = workers.into_iter().map(|worker| worker.join().unwrap());
            let (sent, _open): (Vec<_>, Vec<_>) = ended.unzip();
            sent.into_iter().flatten().collect()
        });
        let ended = bank.wait(Duration::from_secs(5)).unwrap();
        assert!(ended.success() || ended.signal() == Some(9), "{ended}");
        killed += usize::from(!ended.success());
        drop(bank);
        let bank = BankProcess::start(&store, &[]).unwrap();
        settle(&bank, &mut sent);
        history.append(&mut sent);
        check(&bank, &store, &history).await;
        assert!(bank.terminate().success());
    }
    assert!(killed > 0, "it had always ended before it was killed: nothing was proved");
    assert!(history.len() > 100, "only {} commands were sent", history.len());
}
