//! Tests of promise 4 under load: one global order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{append, committed, one};
use crate::event::ExpectedVersion::{Any, NoStream};
use crate::event::GlobalPosition;
use crate::store::contract::{AppendOutcome, Filter, PageLimit, Store};

/// Sixteen writers, every third append refused, and a reader that polls the tail. It sees 1..N, and
/// exactly the events that are stored at the end.
pub async fn positions_are_dense_under_concurrent_writers_and_refusals(store: impl Store + Clone) {
    let writers = (0..16).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut stored = 0;
            for round in 0..30 {
                let id = format!("{}", (writer * 5 + round) % 7);
                let expected = if round % 3 == 0 { NoStream } else { Any };
                let count = 1 + round % 2;
                let outcome = one(&store, append(&id, expected, count)).await;
                stored += count * usize::from(matches!(outcome, AppendOutcome::Committed(_)));
            }
            stored
        })
    });
    let writers: Vec<_> = writers.collect();
    let tailing = store.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<u64>();
    let tail = tokio::spawn(async move {
        let (mut seen, mut after, mut end) = (Vec::new(), GlobalPosition::ZERO, None);
        while end.is_none_or(|end| after.0 < end) {
            let page =
                tailing.read_all(after, &Filter::all(), PageLimit::events(17)).await.unwrap();
            seen.extend(page.events.iter().map(|e| (e.position.0, e.event_id)));
            after = page.scanned_to;
            end = end.or_else(|| stopped.try_recv().ok());
            tokio::task::yield_now().await;
        }
        seen
    });
    let mut stored = 0;
    for writer in writers {
        stored += writer.await.unwrap();
    }
    stop.send(stored as u64).unwrap();
    let seen = tail.await.unwrap();
    assert!(seen.iter().map(|(position, _)| *position).eq(1..=stored as u64));
    let page = store
        .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(10_000))
        .await
        .unwrap();
    assert!(page.events.iter().map(|e| (e.position.0, e.event_id)).eq(seen));
}

/// Real-time order is kept among concurrent callers: an append that returned before another one was
/// sent has the smaller position.
pub async fn an_acknowledged_append_comes_before_a_later_one(store: impl Store + Clone) {
    let answered = Arc::new(AtomicU64::new(0));
    let writers = (0..8).map(|writer| {
        let (store, answered) = (store.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            for round in 0..20 {
                let before = answered.load(Ordering::SeqCst);
                let next = append(&format!("{}", (writer + round) % 5), Any, 1);
                let position = committed(one(&store, next).await).position.0;
                assert!(position > before, "{position}, after {before} had been answered");
                // The event can be read as soon as its append returns.
                let page = store
                    .read_all(GlobalPosition(position - 1), &Filter::all(), PageLimit::events(1))
                    .await;
                assert_eq!(page.unwrap().events.first().map(|e| e.position.0), Some(position));
                answered.fetch_max(position, Ordering::SeqCst);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(answered.load(Ordering::SeqCst), 8 * 20);
}
