//! The ends of a transfer, and the ways to them.

use std::time::Duration;

use actum::CommandError;
use actum::testing::ManualClock;
use example_bank::account::AccountCommand::{self, *};
use example_bank::transfer::{
    APPROVE_WITHIN, FREE_UP_TO, Reason, Transfer, TransferCommand, TransferEvent, TransferRefusal,
    Transfers,
};

use super::{account, account_in, by, ends, events, ledger, request, standing, start, tell};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

/// Two accounts with 100 in the first one.
async fn bank(place: &Place) -> (actum::Application, ManualClock) {
    let clock = standing();
    let app = start(place, &clock).await;
    account(&app, "ada", 100).await;
    account(&app, "bob", 0).await;
    (app, clock)
}

fn reason(code: &str, detail: &str) -> Reason {
    Reason { code: code.to_owned(), detail: detail.to_owned() }
}

async fn money_arrives_and_the_transfer_is_completed(place: Place) {
    let (app, _) = bank(&place).await;
    request(&app, "t", ("ada", "bob"), 30).await;
    ends(&app, "t", &[TransferEvent::Completed]).await;
    let ledger = ledger(app, &place).await;
    ledger.is_settled();
    assert_eq!((ledger.balances["ada"], ledger.balances["bob"]), (70, 30));
}

async fn what_the_source_account_refuses_fails_the_transfer(place: Place) {
    let (app, _) = bank(&place).await;
    account(&app, "frozen", 10).await;
    tell(&app, "frozen", Freeze).await;
    account(&app, "closed", 0).await;
    tell(&app, "closed", AccountCommand::Close).await;
    for (from, code, detail) in [
        ("bob", "insufficient_funds", "only 0 can be withdrawn"),
        ("frozen", "frozen", "the account is frozen"),
        ("closed", "closed", "the account is closed"),
        ("nobody", "unknown_account", "there is no such account"),
    ] {
        request(&app, from, (from, "ada"), 1).await;
        ends(&app, from, &[TransferEvent::Failed(reason(code, detail))]).await;
    }
    let ledger = ledger(app, &place).await;
    ledger.is_settled();
    assert_eq!(ledger.balances["ada"], 100);
}

async fn what_the_target_account_refuses_comes_back(place: Place) {
    let (app, _) = bank(&place).await;
    account_in(&app, "eve", 0, "USD").await;
    account(&app, "closed", 0).await;
    tell(&app, "closed", AccountCommand::Close).await;
    account(&app, "full", i64::MAX).await;
    for (to, code, detail) in [
        ("nobody", "unknown_account", "there is no such account"),
        ("closed", "closed", "the account is closed"),
        ("eve", "other_currency", "the account is in USD"),
        ("full", "balance_too_large", "the balance would be too large"),
    ] {
        request(&app, to, ("ada", to), 60).await;
        ends(&app, to, &[TransferEvent::Refunded(reason(code, detail))]).await;
    }
    request(&app, "invalid", ("ada", "a\u{0}b"), 60).await;
    until(async || !events(&app, "invalid").await.is_empty()).await;
    let refunded = &events(&app, "invalid").await[0];
    let is_failed = matches!(refunded, TransferEvent::Refunded(reason) if reason.code == "failed");
    assert!(is_failed, "{refunded:?}");
    let ledger = ledger(app, &place).await;
    ledger.is_settled();
    assert_eq!((ledger.balances["ada"], ledger.ended("Refunded")), (100, 5));
}

async fn a_frozen_account_takes_money_in(place: Place) {
    let (app, _) = bank(&place).await;
    tell(&app, "bob", Freeze).await;
    request(&app, "t", ("ada", "bob"), 100).await;
    ends(&app, "t", &[TransferEvent::Completed]).await;
    ledger(app, &place).await.is_settled();
}

async fn nobody_moves_the_money_of_others(place: Place) {
    let (app, _) = bank(&place).await;
    let order = example_bank::transfer::Order {
        from: "ada".into(),
        to: "bob".into(),
        amount: 1,
        reference: None,
    };
    for (id, actor) in [("a", "user:bob"), ("b", "user:"), ("c", "user:Ada")] {
        let command = TransferCommand::Request(order.clone());
        app.execute_with::<Transfer>(id, command, by(actor)).await.unwrap();
        let expected = reason("unknown_account", "there is no such account");
        ends(&app, id, &[TransferEvent::Failed(expected)]).await;
    }
    // Nor records how a transfer ends.
    for actor in ["user:ada", "key:shop", "dev"] {
        let refused = app.execute_with::<Transfer>("a", TransferCommand::Complete, by(actor)).await;
        let is_forbidden =
            matches!(refused, Err(CommandError::Refused(TransferRefusal::NotForClients)));
        assert!(is_forbidden, "{actor}: {refused:?}");
    }
    let ledger = ledger(app, &place).await;
    assert_eq!((ledger.balances["ada"], ledger.ended("Failed")), (100, 3));
}

async fn a_large_amount_waits_for_an_approval(place: Place) {
    let (app, clock) = bank(&place).await;
    tell(&app, "ada", Credit { amount: 3 * FREE_UP_TO }).await;
    for id in ["approved", "expires", "restarted"] {
        request(&app, id, ("ada", "bob"), FREE_UP_TO + 1).await;
    }
    request(&app, "small", ("ada", "bob"), FREE_UP_TO).await;
    ends(&app, "small", &[TransferEvent::Completed]).await;
    // Everything that was due until then has happened once another transfer is through.
    clock.advance(APPROVE_WITHIN - Duration::from_secs(60));
    request(&app, "marker", ("ada", "bob"), 1).await;
    ends(&app, "marker", &[TransferEvent::Completed]).await;
    assert_eq!(events(&app, "expires").await, []);

    app.execute::<Transfer>("approved", TransferCommand::Approve).await.unwrap();
    ends(&app, "approved", &[TransferEvent::Approved, TransferEvent::Completed]).await;
    app.shutdown().await;
    drop(app);
    let app = start(&place, &clock).await;
    assert_eq!(events(&app, "restarted").await, []);
    clock.advance(Duration::from_secs(120));
    for id in ["expires", "restarted"] {
        ends(&app, id, &[TransferEvent::Expired]).await;
    }
    let late = app.execute::<Transfer>("expires", TransferCommand::Approve).await;
    assert!(matches!(late, Err(CommandError::Refused(TransferRefusal::HasEnded))), "{late:?}");
    clock.advance(2 * APPROVE_WITHIN);
    request(&app, "last", ("ada", "bob"), 1).await;
    ends(&app, "last", &[TransferEvent::Completed]).await;
    assert_eq!(events(&app, "approved").await.len(), 2);
    let ledger = ledger(app, &place).await;
    ledger.is_settled();
    assert_eq!(ledger.balances["bob"], 2 * FREE_UP_TO + 3);
}

async fn the_story_of_a_transfer_is_told(place: Place) {
    let (app, _) = bank(&place).await;
    request(&app, "t", ("ada", "nobody"), 30).await;
    let ended = async || app.story::<Transfers>("t").await.is_ok_and(|story| story.is_complete);
    until(ended).await;
    let story = app.story::<Transfers>("t").await.unwrap();
    let steps = story.steps.iter().map(|step| (&*step.event.event_type, step.effects.join(", ")));
    let steps: Vec<_> = steps.collect();
    let steps: Vec<_> = steps.iter().map(|(event, effects)| (*event, &**effects)).collect();
    let expected = [
        ("Requested", "TransferOut to account-ada"),
        ("TransferredOut", "TransferIn to account-nobody"),
        ("Refused", "TakeBack to account-ada"),
        ("TakenBack", "Refund to transfer-t"),
        ("Refunded", "complete"),
    ];
    assert_eq!(steps, expected);
    ledger(app, &place).await.is_settled();
}

on_every_place!(
    money_arrives_and_the_transfer_is_completed,
    what_the_source_account_refuses_fails_the_transfer,
    what_the_target_account_refuses_comes_back,
    a_frozen_account_takes_money_in,
    nobody_moves_the_money_of_others,
    a_large_amount_waits_for_an_approval,
    the_story_of_a_transfer_is_told,
);
