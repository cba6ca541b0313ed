//! Tests that pages are limited by bytes, and that an item larger than a page is returned alone.

use super::{append, committed, event, one, stream};
use crate::event::ExpectedVersion::Any;
use crate::event::{GlobalPosition, StreamId, StreamVersion};
use crate::store::contract::{Append, Filter, PageLimit, Store};

/// Payload sizes: equal ones, one larger than any page, tiny ones around it, two that fit exactly.
const SIZES: [usize; 12] = [3_000, 3_000, 3_000, 2, 90_000, 2, 2, 5_000, 4_994, 3_000, 90_000, 3];

const LIMITS: [usize; 6] = [0, 1, 6_004, 9_998, 10_000, 1 << 30];

/// Returns a JSON text of this size.
fn json(bytes: usize) -> String {
    match bytes {
        1 => "1".to_owned(),
        bytes => format!("\"{}\"", "x".repeat(bytes - 2)),
    }
}

/// Checks that each page is as full as its limit allows, and no fuller.
fn assert_bounded(pages: &[Vec<usize>], limit: usize) {
    assert!(pages.iter().all(|page| page.len() == 1 || page.iter().sum::<usize>() <= limit));
    for pair in pages.windows(2) {
        let with_next = pair[0].iter().sum::<usize>() + pair[1][0];
        assert!(with_next > limit, "pages of {limit} bytes end too soon: {pages:?}");
    }
}

async fn fill(store: &impl Store) -> Vec<usize> {
    let events = SIZES.map(|bytes| event(&json(bytes)));
    committed(one(store, Append { events: events.to_vec(), ..append("a", Any, 0) }).await);
    SIZES.map(|bytes| bytes + 2).to_vec() // the metadata is `{}`
}

/// Pages of a stream and of the log.
pub async fn a_page_of_events_is_bounded_by_bytes(store: impl Store) {
    let sizes = fill(&store).await;
    for bytes in LIMITS {
        let limit = PageLimit::events(1_000).bytes(bytes);
        let (mut version, mut pages) = (StreamVersion::ZERO, Vec::new());
        loop {
            let page = store.read_stream(&stream("a"), version, limit).await.unwrap();
            let Some(last) = page.last() else { break };
            version = last.version;
            pages.push(page.iter().map(|event| event.bytes()).collect());
        }
        assert_bounded(&pages, bytes);
        assert_eq!(pages.concat(), sizes);
        let (mut after, mut logged) = (GlobalPosition::ZERO, Vec::new());
        loop {
            let page = store.read_all(after, &Filter::all(), limit).await.unwrap();
            if page.scanned_to == after {
                break;
            }
            assert_eq!(page.scanned_to, page.events.last().unwrap().position);
            after = page.scanned_to;
            logged.push(page.events.iter().map(|event| event.bytes()).collect::<Vec<_>>());
        }
        assert_eq!(logged, pages);
    }
    let two = PageLimit::events(2).bytes(1 << 30);
    let page = store.read_stream(&stream("a"), StreamVersion::ZERO, two).await.unwrap();
    assert_eq!(page.len(), 2, "the number of events is a limit too");
}

/// `scanned_to` is before the event that did not fit, even if it is the last one that matches.
pub async fn a_filtered_page_that_is_full_of_bytes_loses_nothing(store: impl Store) {
    let rare = StreamId::new("rare", "1").unwrap();
    let mut sizes = Vec::new();
    for (n, bytes) in SIZES.into_iter().enumerate() {
        committed(one(&store, append(&n.to_string(), Any, n % 3)).await);
        let events = vec![event(&json(bytes))];
        committed(
            one(&store, Append { stream: rare.clone(), events, ..append("any", Any, 0) }).await,
        );
        sizes.push(bytes + 2);
    }
    committed(one(&store, append("end", Any, 1)).await);
    let head = store.head().await.unwrap();
    let filter = Filter { aggregate_types: vec!["rare".into()] };
    for bytes in LIMITS {
        let limit = PageLimit::events(1_000).bytes(bytes);
        let (mut after, mut pages) = (GlobalPosition::ZERO, Vec::new());
        while after < head {
            let page = store.read_all(after, &filter, limit).await.unwrap();
            assert!(page.scanned_to > after, "no progress after {after}");
            after = page.scanned_to;
            let found: Vec<_> = page.events.iter().map(|event| event.bytes()).collect();
            pages.extend((!found.is_empty()).then_some(found));
        }
        assert_bounded(&pages, bytes);
        assert_eq!(pages.concat(), sizes, "pages of {bytes} bytes");
    }
}

/// The positions after the page are requested again.
pub async fn a_page_of_picked_events_is_bounded_by_bytes(store: impl Store) {
    let sizes = fill(&store).await;
    let all: Vec<_> = (1..=SIZES.len() as u64).map(GlobalPosition).collect();
    for bytes in LIMITS {
        let limit = PageLimit::events(1_000).bytes(bytes);
        let (mut open, mut pages) = (&all[..], Vec::new());
        while !open.is_empty() {
            let page = store.read_positions(open, limit).await.unwrap();
            assert!(!page.is_empty(), "no progress before {}", open[0]);
            open = &open[page.len()..];
            pages.push(page.iter().map(|event| event.bytes()).collect::<Vec<_>>());
        }
        assert_bounded(&pages, bytes);
        assert_eq!(pages.concat(), sizes);
    }
    let three = store.read_positions(&all, PageLimit::events(3)).await.unwrap();
    assert_eq!(three.len(), 3, "the number of events is a limit too");
}
