//! Tests of deleted documents and of lists of documents.

use super::documents::{batch, body, lease, partition};
use crate::event::GlobalPosition;
use crate::store::contract::{
    DocumentRange, MAX_LIST_BYTES, ParkedChange, ParkedKey, PartitionId, Store, StoredPage,
};

const MODEL: &str = "balance@1";

fn range(prefix: &str, after: Option<&str>, limit: usize) -> DocumentRange {
    DocumentRange { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit }
}

async fn list(store: &impl Store, range: DocumentRange) -> StoredPage {
    store.list_documents(MODEL, &range).await.unwrap()
}

fn keys(page: &StoredPage) -> Vec<&str> {
    page.documents.iter().map(|(key, _)| &**key).collect()
}

/// A document is deleted with the checkpoint and can be stored again. A refused batch deletes
/// nothing.
pub async fn documents_are_deleted_with_the_checkpoint(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    store.save_documents(batch(&lease, 0, 3, &[("a", "1"), ("b\"ü", "2")])).await.unwrap();
    let mut deleting = batch(&lease, 3, 4, &[("c", "3")]);
    deleting.deleted = vec!["b\"ü".into(), "never there".into()];
    let mut stale = deleting.clone();
    stale.update.from = GlobalPosition(2);
    assert!(store.save_documents(stale).await.is_err());
    assert_eq!(body(&store, MODEL, "b\"ü").await.as_deref(), Some("2"));
    store.save_documents(deleting.clone()).await.unwrap();
    assert_eq!(body(&store, MODEL, "b\"ü").await, None);
    assert_eq!(body(&store, MODEL, "a").await.as_deref(), Some("1"));
    assert_eq!(body(&store, MODEL, "c").await.as_deref(), Some("3"));
    store.save_documents(batch(&lease, 4, 5, &[("b\"ü", "4")])).await.unwrap();
    assert!(store.save_documents(deleting).await.is_err(), "it comes late");
    assert_eq!(body(&store, MODEL, "b\"ü").await.as_deref(), Some("4"));
}

/// All documents are returned page by page, in byte order, whatever the collation of the database.
pub async fn documents_are_listed_by_the_bytes_of_their_keys(store: impl Store) {
    let mut all = vec![
        "", " ", "!", "-", "A", "B", "Z", "_", "a", "a b", "a-b", "aa", "ab", "b", "z", "Ä", "ä",
        "é", "e\u{301}", "ß", "ss", "ı", "中", "\u{e000}", "\u{ffff}", "😀", "10", "9",
    ];
    let documents: Vec<_> = all.iter().map(|key| (*key, "1")).collect();
    let lease = lease(&store, &partition()).await;
    store.save_documents(batch(&lease, 0, 1, &documents)).await.unwrap();
    all.sort_unstable();
    for limit in [1, 3, 1000] {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = list(&store, range("", after.as_deref(), limit)).await;
            assert!(page.documents.len() <= limit);
            found.extend(page.documents.into_iter().map(|(key, _)| key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, all);
    }
    assert_eq!(keys(&list(&store, range("", Some("aZ"), 1)).await), ["aa"]);
    let other = store.list_documents("balance@2", &DocumentRange::default()).await.unwrap();
    assert_eq!(other, StoredPage::default());
}

/// A list returns all keys of a prefix and no others, for any page size.
pub async fn documents_are_listed_by_prefix_in_pages(store: impl Store) {
    let mut all = vec![
        "",
        " ",
        "A",
        "a",
        "a b",
        "a%",
        "a_",
        "aa",
        "ab",
        "ab\u{10ffff}",
        "ac",
        "b",
        "Ä",
        "ä",
        "äb",
        "中",
        "\u{ffff}",
        "😀",
        "\u{10ffff}",
        "\u{10ffff}\u{10ffff}z",
    ];
    let documents: Vec<_> = all.iter().map(|key| (*key, "1")).collect();
    let lease = lease(&store, &partition()).await;
    store.save_documents(batch(&lease, 0, 1, &documents)).await.unwrap();
    all.sort_unstable();
    // No key contains a NUL, and a prefix that contains one is not an error.
    for prefix in ["\0", "a\0"] {
        let page = list(&store, range(prefix, None, 9)).await;
        assert!(page.documents.is_empty() && page.checkpoints.len() == 1, "{page:?}");
    }
    assert_eq!(keys(&list(&store, range("", Some("ab\0z"), 1)).await), ["ab\u{10ffff}"]);
    for prefix in ["", "a", "ab", "a%", "ä", "z", "\u{10ffff}", "\u{d7ff}"] {
        let expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).collect();
        for limit in [1, 2, 3, 1000] {
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = list(&store, range(prefix, after.as_deref(), limit)).await;
                assert!(page.documents.len() <= limit);
                found.extend(page.documents.into_iter().map(|(key, _)| key));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert!(found.iter().eq(expected.iter().copied()), "{prefix:?}: {found:?}");
        }
    }
    assert_eq!(keys(&list(&store, range("a", Some("aa"), 9)).await), ["ab", "ab\u{10ffff}", "ac"]);
    assert_eq!(keys(&list(&store, range("b", Some("a"), 9)).await), ["b"]);
    assert_eq!(keys(&list(&store, range("a", Some("b"), 9)).await), [""; 0]);
    assert_eq!(list(&store, range("", None, 0)).await.documents.len(), 1);
    assert_eq!(
        store.list_documents("balance@2", &range("", None, 9)).await.unwrap(),
        StoredPage::default()
    );
}

/// A page is limited by bytes, so it fits in memory whatever the documents are.
pub async fn a_page_of_large_documents_ends_early(store: impl Store) {
    let large = format!("\"{}\"", "x".repeat(MAX_LIST_BYTES / 2 + 1));
    let lease = lease(&store, &partition()).await;
    for (n, key) in (1..).zip(["a", "b", "c", "d"]) {
        store.save_documents(batch(&lease, n - 1, n, &[(key, &large)])).await.unwrap();
    }
    let page = list(&store, range("", None, 9)).await;
    assert_eq!((keys(&page), page.next.as_deref()), (vec!["a", "b"], Some("b")));
    let page = list(&store, range("", Some("b"), 9)).await;
    assert_eq!((keys(&page), page.next.as_deref()), (vec!["c", "d"], None));
}

/// A page contains a parked key instead of its document.
pub async fn a_page_names_the_parked_keys_and_the_checkpoints(store: impl Store) {
    let one = lease(&store, &partition()).await;
    let mut parking = batch(&one, 0, 3, &[("a", "1"), ("b", "2"), ("d", "4")]);
    let parked = |key: &str| {
        ParkedChange::Park(ParkedKey {
            key: key.into(),
            partition: 0,
            position: GlobalPosition(2),
            event: "an event".into(),
            reason: "a reason".into(),
            attempts: 1,
            since: time::OffsetDateTime::UNIX_EPOCH,
            queue: vec![],
            waiting: 0,
            unlisted_from: None,
            unlisted_sum: 0,
            request: None,
        })
    };
    parking.update.parked = vec![parked("b"), parked("c")];
    store.save_documents(parking).await.unwrap();
    let other = PartitionId::new(MODEL, 7);
    let lease = lease(&store, &other).await;
    let mut second = batch(&lease, 0, 5, &[("e", "5")]);
    second.update.partition = other;
    store.save_documents(second).await.unwrap();
    let page = list(&store, range("", None, 3)).await;
    assert_eq!((keys(&page), &*page.parked), (vec!["a"], &["b".to_owned(), "c".to_owned()][..]));
    assert_eq!(page.checkpoints, [(0, GlobalPosition(3)), (7, GlobalPosition(5))]);
    let rest = list(&store, range("", page.next.as_deref(), 3)).await;
    assert_eq!((keys(&rest), rest.parked.len(), rest.next.as_deref()), (vec!["d", "e"], 0, None));
}
