//! Tests of claims: one holder at a time, and no claim without the event that took it.

use super::{append, committed, event, keyed, one, refused, stream};
use crate::command::Claim;
use crate::event::{ExpectedVersion, StreamVersion};
use crate::store::contract::{Append, AppendOutcome, EventStore, NotCommitted, Store};

fn take(value: &str) -> Claim {
    Claim::take("name", value)
}

fn release(value: &str) -> Claim {
    Claim::release("name", value)
}

/// Returns an append of one event to `ledger-{id}` with these claims.
fn claiming(id: &str, claims: impl IntoIterator<Item = Claim>) -> Append {
    let claims = claims.into_iter().collect();
    Append { claims, ..append(id, ExpectedVersion::Any, 1) }
}

/// Returns the id of the stream that holds the name.
async fn holder(store: &impl EventStore, value: &str) -> Option<String> {
    let holder = store.claim_holder("name", value).await.unwrap();
    holder.map(|stream| stream.id().to_owned())
}

#[track_caller]
fn assert_claimed(outcome: AppendOutcome, value: &str, by: &str) {
    match refused(outcome) {
        NotCommitted::Claimed { claim, holder } => {
            assert_eq!((claim, holder), (take(value), stream(by)));
        }
        other => panic!("not refused for a claim: {other:?}"),
    }
}

/// One stream holds a value. Other streams are refused, and the result names the holder.
pub async fn a_claim_has_one_holder(store: impl Store) {
    assert_eq!(holder(&store, "ada").await, None);
    committed(one(&store, claiming("a", [take("ada")])).await);
    assert_claimed(one(&store, claiming("b", [take("bob"), take("ada")])).await, "ada", "a");
    assert_eq!(holder(&store, "ada").await.as_deref(), Some("a"));
    assert_eq!(holder(&store, "bob").await, None);
    // The holder may take a value again. Another kind is another claim.
    committed(one(&store, claiming("a", [take("ada")])).await);
    committed(one(&store, claiming("b", [Claim::take("nickname", "ada")])).await);
    let tip = committed(one(&store, claiming("c", [])).await);
    assert_eq!(tip.position.0, 4, "a refused append took a position");
}

/// A claim is free after its holder released it, but not if another stream did.
pub async fn a_release_by_its_holder_frees_a_claim(store: impl Store) {
    committed(one(&store, claiming("a", [take("ada")])).await);
    committed(one(&store, claiming("b", [release("ada"), release("nobody's")])).await);
    assert_eq!(holder(&store, "ada").await.as_deref(), Some("a"));
    committed(one(&store, claiming("a", [release("ada")])).await);
    assert_eq!(holder(&store, "ada").await, None);
    committed(one(&store, claiming("b", [take("ada")])).await);
    assert_claimed(one(&store, claiming("a", [take("ada")])).await, "ada", "b");
}

/// A rename and the rename back in one append.
pub async fn claims_of_one_append_are_carried_out_in_order(store: impl Store) {
    committed(one(&store, claiming("a", [take("x"), take("x"), take("y")])).await);
    committed(one(&store, claiming("a", [release("x"), take("z"), take("z")])).await);
    committed(one(&store, claiming("a", [release("y"), take("y")])).await);
    committed(one(&store, claiming("a", [take("w"), release("w")])).await);
    let mut held = Vec::new();
    for value in ["w", "x", "y", "z"] {
        held.push(holder(&store, value).await.is_some());
    }
    assert_eq!(held, [false, false, true, true]);
    let many: Vec<_> = (0..100).map(|n| take(&n.to_string())).collect();
    committed(one(&store, claiming("b", many)).await);
    assert_claimed(one(&store, claiming("a", [take("99")])).await, "99", "b");
}

/// Appends of one call that name the same claims are decided one after the other.
pub async fn appends_of_one_call_see_one_anothers_claims(store: impl Store) {
    committed(one(&store, claiming("a", [take("ada")])).await);
    let outcomes = store.append(vec![
        claiming("b", [take("ada")]),
        claiming("a", [release("ada"), take("bob")]),
        claiming("b", [take("ada")]),
        claiming("c", [take("bob")]),
        claiming("a", [release("bob"), take("ada")]),
        claiming("d", []),
        claiming("b", [release("ada")]),
        claiming("a", [release("bob"), take("ada")]),
    ]);
    let mut outcomes = outcomes.await.into_iter();
    let mut next = || outcomes.next().unwrap();
    assert_claimed(next(), "ada", "a");
    committed(next());
    committed(next());
    assert_claimed(next(), "bob", "a");
    assert_claimed(next(), "ada", "b");
    for _ in 0..3 {
        committed(next());
    }
    assert_eq!(holder(&store, "ada").await.as_deref(), Some("a"));
    assert_eq!(holder(&store, "bob").await, None);
    assert_eq!(store.head().await.unwrap().0, 6);
}

/// An append that is not stored neither takes nor releases claims.
pub async fn claims_stand_and_fall_with_their_events(store: impl Store) {
    committed(one(&store, claiming("a", [take("ada")])).await);
    let stale = ExpectedVersion::Exact(StreamVersion(7));
    let conflict = Append { expected: stale, ..claiming("a", [release("ada"), take("bob")]) };
    assert!(matches!(refused(one(&store, conflict).await), NotCommitted::Conflict { .. }));
    let invalid = Append { events: vec![event("{")], ..claiming("a", [release("ada")]) };
    assert!(matches!(refused(one(&store, invalid).await), NotCommitted::Invalid(_)));
    assert_claimed(one(&store, claiming("b", [take("bob"), take("ada")])).await, "ada", "a");
    assert_eq!(holder(&store, "ada").await.as_deref(), Some("a"));
    assert_eq!(holder(&store, "bob").await, None);
    // An outdated decision is a conflict, even if its claim is taken too.
    let both = Append { expected: stale, ..claiming("b", [take("ada")]) };
    assert!(matches!(refused(one(&store, both).await), NotCommitted::Conflict { .. }));
}

/// An append that was stored gets its first outcome, whoever holds its claims now.
pub async fn an_append_that_took_a_claim_is_recognised_when_sent_again(store: impl Store) {
    let by_key = Append { claims: vec![take("ada")], ..keyed("a", 1, "k") };
    let by_event = claiming("a", [take("bob")]);
    committed(one(&store, by_key.clone()).await);
    committed(one(&store, by_event.clone()).await);
    committed(one(&store, claiming("a", [release("ada"), release("bob")])).await);
    committed(one(&store, claiming("b", [take("ada"), take("bob")])).await);
    for (append, version) in [(by_key, 1), (by_event, 2)] {
        let alone = committed(one(&store, append.clone()).await);
        assert_eq!((alone.version.0, alone.replayed), (version, true));
        let beside = vec![append, claiming("c", [])];
        let again = committed(store.append(beside).await.remove(0));
        assert_eq!((again.version.0, again.replayed), (version, true));
    }
    assert_eq!(holder(&store, "ada").await.as_deref(), Some("b"));
    assert_eq!(holder(&store, "bob").await.as_deref(), Some("b"));
}

/// Fifty callers claim one name at once, and a name of their own each.
pub async fn of_concurrent_takers_one_gets_the_claim(store: impl Store + Clone) {
    let calls = (0..50).map(|n| {
        let (store, id) = (store.clone(), n.to_string());
        let claims = [take(&format!("own-{n}")), take("ada")];
        tokio::spawn(async move { (id.clone(), one(&store, claiming(&id, claims)).await) })
    });
    let (mut winners, mut holders) = (Vec::new(), Vec::new());
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            (id, AppendOutcome::Committed(_)) => winners.push(id),
            (_, AppendOutcome::NotCommitted(NotCommitted::Claimed { holder, .. })) => {
                holders.push(holder.id().to_owned());
            }
            (id, other) => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert!(holders.iter().all(|holder| *holder == winners[0]), "{winners:?}, not {holders:?}");
    assert_eq!(store.head().await.unwrap().0, 1);
    for n in 0..50 {
        let own = holder(&store, &format!("own-{n}")).await;
        assert_eq!(own.is_some(), winners[0] == n.to_string(), "own-{n}: {own:?}");
    }
}

/// Values are compared byte by byte and stored unchanged. A value that cannot be stored is refused.
pub async fn claims_are_kept_byte_by_byte_or_not_at_all(store: impl Store) {
    let longest = "é".repeat(127);
    let values = ["ada", "Ada", "ada ", "é", "e\u{301}", "'\"\\%_", "\u{1F9EE}", &longest];
    for (n, value) in values.iter().enumerate() {
        let id = n.to_string();
        committed(one(&store, claiming(&id, [take(value)])).await);
        assert_eq!(holder(&store, value).await, Some(id), "{value:?}");
    }
    let too_long = "x".repeat(256);
    for value in ["", "a\0b", "a\nb", &too_long] {
        for claim in [take(value), release(value)] {
            let invalid = refused(one(&store, claiming("a", [claim])).await);
            assert!(matches!(invalid, NotCommitted::Invalid(_)), "{value:?}: {invalid:?}");
        }
        assert_eq!(holder(&store, value).await, None);
    }
    let kind = refused(one(&store, claiming("a", [Claim::take("a kind", "x")])).await);
    assert!(matches!(kind, NotCommitted::Invalid(_)), "{kind:?}");
    let no_events = Append { events: vec![], ..claiming("a", [take("x")]) };
    assert!(matches!(refused(one(&store, no_events).await), NotCommitted::Invalid(_)));
}
