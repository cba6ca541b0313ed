//! Tests of reads in pages, with and without a filter.

use super::{append, committed, one, stream};
use crate::event::ExpectedVersion::Any;
use crate::event::{GlobalPosition, StreamId, StreamVersion};
use crate::store::contract::{Append, Filter, PageLimit, Store};

/// Any page size, of the log and of a stream.
pub async fn pages_follow_one_another_without_loss(store: impl Store) {
    for n in 0..25 {
        committed(one(&store, append(&(n % 3).to_string(), Any, 1 + n % 3)).await);
    }
    let head = store.head().await.unwrap();
    for limit in [1, 2, 7, 1000] {
        let (mut after, mut seen) = (GlobalPosition::ZERO, Vec::new());
        loop {
            let page =
                store.read_all(after, &Filter::all(), PageLimit::events(limit)).await.unwrap();
            assert!(page.events.len() <= limit);
            if page.scanned_to == after {
                break;
            }
            seen.extend(page.events.iter().map(|e| e.position.0));
            after = page.scanned_to;
        }
        assert!(seen.into_iter().eq(1..=head.0), "pages of {limit}");
        let mut version = StreamVersion::ZERO;
        loop {
            let events =
                store.read_stream(&stream("0"), version, PageLimit::events(limit)).await.unwrap();
            assert!(events.len() <= limit);
            let Some(last) = events.last() else { break };
            assert!(events.iter().map(|e| e.version.0).eq(version.0 + 1..=last.version.0));
            version = last.version;
        }
        assert!(version.0 > 8);
    }
    assert!(
        store
            .read_stream(&stream("none"), StreamVersion::ZERO, PageLimit::events(9))
            .await
            .unwrap()
            .is_empty()
    );
}

/// A short or empty page is not the end: `scanned_to` is the position from which to continue.
pub async fn a_filtered_read_says_how_far_it_looked(store: impl Store) {
    let rare = StreamId::new("rare", "1").unwrap();
    let mut expected = Vec::new();
    for n in 0..120 {
        let mut next = append(&n.to_string(), Any, 1);
        if n % 50 == 25 {
            next = Append { stream: rare.clone(), ..next };
            expected.push(n + 1);
        }
        committed(one(&store, next).await);
    }
    let head = store.head().await.unwrap();
    let filter = Filter { aggregate_types: vec!["rare".into(), "absent".into()] };
    for limit in [1, 10] {
        let (mut after, mut seen) = (GlobalPosition::ZERO, Vec::new());
        while after < head {
            let page = store.read_all(after, &filter, PageLimit::events(limit)).await.unwrap();
            assert!(page.events.iter().all(|e| e.stream == rare && e.position <= page.scanned_to));
            assert!(page.scanned_to > after, "no progress after {after}");
            seen.extend(page.events.iter().map(|e| e.position.0));
            after = page.scanned_to;
        }
        assert_eq!(seen, expected);
    }
    let end = store.read_all(head, &filter, PageLimit::events(10)).await.unwrap();
    assert_eq!((end.events.len(), end.scanned_to), (0, head));
}

/// An append wakes the waiters of `watch_head` in the same process.
pub async fn the_head_is_known_and_wakes_who_waits(store: impl Store) {
    assert_eq!(store.head().await.unwrap(), GlobalPosition::ZERO);
    let mut watch = store.watch_head();
    committed(one(&store, append("a", Any, 3)).await);
    let waited = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        watch.wait_for(|head| *head >= GlobalPosition(3)),
    );
    assert_eq!(waited.await.expect("nobody woke the watcher").unwrap().0, 3);
    assert_eq!(store.head().await.unwrap(), GlobalPosition(3));
}

/// Each event is returned once, in the order of the log, and none beyond its end.
pub async fn events_are_found_by_their_positions(store: impl Store) {
    for id in ["a", "b", "a"] {
        committed(one(&store, append(id, Any, 400)).await);
    }
    let page = store
        .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(2000))
        .await
        .unwrap();
    let at = async |positions: &[u64]| {
        let positions: Vec<_> = positions.iter().copied().map(GlobalPosition).collect();
        store.read_positions(&positions, PageLimit::events(5_000)).await.unwrap()
    };
    let asked = [801, 5, u64::MAX, 2, 5, 0, 1201, 1 << 63, 1];
    let found = at(&asked).await;
    let expected = [1, 2, 5, 801].map(|position: usize| page.events[position - 1].clone());
    assert_eq!(found, expected);
    let asked: Vec<u64> = (1..=2000).rev().step_by(2).collect();
    let found: Vec<u64> = at(&asked).await.iter().map(|event| event.position.0).collect();
    assert_eq!(found, (1..=1200).filter(|n| n % 2 == 0).collect::<Vec<_>>());
    assert!(at(&[]).await.is_empty() && at(&[0]).await.is_empty() && at(&[1201]).await.is_empty());
}
