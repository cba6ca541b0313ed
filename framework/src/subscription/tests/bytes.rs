//! Tests of byte limits: per read, for the queue of a slow follower, and for the page cache.

use super::*;

/// Bytes of each event's payload.
const EVENT: usize = 10_000;

async fn deposit_large(store: &MemoryStore, count: usize) {
    let payload = format!("\"{}\"", "x".repeat(EVENT - 2));
    append(store, ("account", "1"), &vec![("Deposited", payload); count]).await;
}

/// Pages of about five large events. The limit on their number alone would allow much larger pages.
fn five_large() -> TailSettings {
    let bytes = 5 * EVENT + EVENT / 2;
    TailSettings {
        page: 1_000,
        catch_up_page: 1_000,
        page_bytes: bytes,
        shared_pages: 1_000,
        shared_bytes: bytes,
        waiting_pages: 1_000,
        waiting_bytes: bytes,
        ..quick()
    }
}

#[tokio::test]
async fn a_page_is_bounded_by_bytes_far_behind_and_at_the_tail() {
    let memory = MemoryStore::new();
    deposit_large(&memory, 60).await;
    let tail = start(memory.clone(), TailSettings { join_within: 0, ..five_large() });
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition::ZERO);
    let mut last = 0;
    while last < 60 {
        let page = next(&mut subscription).await;
        assert!((1..=5).contains(&page.events.len()), "{} large events", page.events.len());
        last = continued(last, &page, &vec!["account".to_owned(); 60], &Filter::all());
    }
    drop((subscription, tail));
    let tail = start(memory.clone(), five_large());
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition(60));
    deposit_large(&memory, 60).await;
    while last < 120 {
        let page = next(&mut subscription).await;
        // Queued pages may be merged with a page that is not full.
        assert!((1..=10).contains(&page.events.len()), "{} large events", page.events.len());
        last = continued(last, &page, &vec!["account".to_owned(); 120], &Filter::all());
    }
}

#[tokio::test]
async fn what_waits_for_a_slow_follower_is_bounded_by_bytes() {
    let memory = MemoryStore::new();
    let tail = start(memory.clone(), TailSettings { page: 1, ..five_large() });
    let mut slow = tail.subscribe("slow", Filter::all(), GlobalPosition::ZERO);
    deposit_large(&memory, 1).await;
    assert_eq!(next(&mut slow).await.scanned_to.0, 1);
    assert_eq!(tail.status().joined, 1);
    deposit_large(&memory, 40).await;
    let is_let_go = async {
        while tail.status().joined > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_let_go).await.expect("all of it waits");
    let mut last = 1;
    while last < 41 {
        let page = next(&mut slow).await;
        last = continued(last, &page, &vec!["account".to_owned(); 41], &Filter::all());
    }
}

#[tokio::test]
async fn the_pages_kept_for_others_are_bounded_by_bytes() {
    let reads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    let store = TestStore::new(move |call| {
        counted.fetch_add(u64::from(matches!(call, Call::ReadAll(_))), Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    deposit_large(&store.memory, 100).await;
    let tail = start(store, TailSettings { join_within: 0, ..five_large() });
    // It keeps the page cache alive and has not read a page yet.
    let mut second = tail.subscribe("second", Filter::all(), GlobalPosition::ZERO);
    let mut first = tail.subscribe("first", Filter::all(), GlobalPosition::ZERO);
    while first.position().0 < 100 {
        next(&mut first).await;
    }
    let read_by_first = reads.swap(0, Ordering::Relaxed);
    while second.position().0 < 100 {
        next(&mut second).await;
    }
    let read_by_second = reads.load(Ordering::Relaxed);
    assert!(read_by_first >= 20 && read_by_second >= 15, "{read_by_first}, {read_by_second}");
}
