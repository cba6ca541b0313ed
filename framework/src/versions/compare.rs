//! Comparison of two versions: what a rebuild has changed, before it is activated.
//!
//! All documents of both versions of a read model are read in the order of their keys, and compared
//! as the new version decodes them. Both versions continue to fold during the comparison, so pairs
//! that differ are read again several times. What still differs then is different, or changes all
//! the time.

use std::cmp::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::error::StoreError;
use crate::store::contract::{
    Comparison, Difference, DocumentRange, PartitionId, Store, StoredPage,
};

/// Number of documents or rows per read.
pub(crate) const PAGE: usize = 1_000;

/// Maximum number of differences that are read again. More cannot be explained by a fold in
/// progress.
const LOOKED_AT_AGAIN: usize = 1_000;

/// Number of times that differences are read again, and the time between. Owners save more often
/// than that.
const LOOKS: usize = 10;
const REST: Duration = Duration::from_millis(100);

/// Maximum number of differences that are shown.
const SHOWN: usize = 10;

/// Function that decodes a body as the new version does.
pub(crate) type Shown = fn(&str) -> Result<Value, String>;

/// The documents of one version.
pub(crate) struct Side {
    /// Versioned name, such as `balance@1`.
    pub(crate) model: String,
    /// Part of a body that is compared: the document as the new version decodes it.
    pub(crate) shown: Shown,
}

/// A document or row of both versions; `None` where it does not exist.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) old: Option<Result<Value, String>>,
    pub(crate) new: Option<Result<Value, String>>,
}

/// Access to both versions by key.
#[async_trait]
pub(crate) trait Both: Sync {
    type Key: ToString + Send + Sync;

    /// Returns the current pairs of these keys, in the same order.
    ///
    /// # Errors
    /// The store is not available.
    async fn load(&self, keys: &[Self::Key]) -> Result<Vec<Pair>, StoreError>;
}

/// Result of a comparison in progress.
pub(crate) struct Found<K> {
    comparison: Comparison,
    /// Pairs that differ and will be read again.
    differing: Vec<(K, Pair)>,
}

impl<K: ToString + Send + Sync> Found<K> {
    pub(crate) fn new() -> Self {
        Self { comparison: Comparison::default(), differing: Vec::new() }
    }

    /// Adds the pair of one key.
    pub(crate) fn see(&mut self, key: K, pair: Pair) {
        let found = &mut self.comparison;
        found.old_documents += u64::from(pair.old.is_some());
        found.new_documents += u64::from(pair.new.is_some());
        match pair.is_equal() {
            true => found.equal += 1,
            false if self.differing.len() < LOOKED_AT_AGAIN => self.differing.push((key, pair)),
            false => found.different += 1,
        }
    }

    /// Reads the differing pairs again several times, and returns the result.
    ///
    /// # Errors
    /// The store is not available.
    pub(crate) async fn end(self, both: &dyn Both<Key = K>) -> Result<Comparison, StoreError> {
        let Self { comparison: mut found, mut differing } = self;
        for _ in 0..LOOKS {
            if differing.is_empty() {
                break;
            }
            tokio::time::sleep(REST).await;
            let (keys, _): (Vec<K>, Vec<Pair>) = differing.into_iter().unzip();
            let pairs = both.load(&keys).await?;
            let all = keys.len();
            differing = keys.into_iter().zip(pairs).filter(|(_, pair)| !pair.is_equal()).collect();
            found.equal += (all - differing.len()) as u64;
        }
        found.different += differing.len() as u64;
        let shown = differing.into_iter().take(SHOWN);
        found.differences = shown.map(|(key, pair)| pair.difference(key.to_string())).collect();
        Ok(found)
    }
}

/// Compares all documents of both versions.
///
/// # Errors
/// The store is not available.
pub(crate) async fn compare(
    store: &dyn Store,
    old: &Side,
    new: &Side,
) -> Result<Comparison, StoreError> {
    let mut found = Found::new();
    let (mut olds, mut news) = (Walk::new(old), Walk::new(new));
    loop {
        let order = match (olds.peek(store).await?, news.peek(store).await?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // Stores scan documents in the byte order of their keys, so both walks stay in step.
            (Some(left), Some(right)) => left.as_bytes().cmp(right.as_bytes()),
        };
        let left = if order.is_le() { olds.page.next() } else { None };
        let right = if order.is_ge() { news.page.next() } else { None };
        let key = left.as_ref().or(right.as_ref()).map(|(key, _)| key.clone()).unwrap_or_default();
        let pair = Pair {
            old: left.map(|(_, body)| (old.shown)(&body)),
            new: right.map(|(_, body)| (new.shown)(&body)),
        };
        found.see(key, pair);
    }
    found.end(&BothSides { store, old, new }).await
}

struct BothSides<'a> {
    store: &'a dyn Store,
    old: &'a Side,
    new: &'a Side,
}

#[async_trait]
impl Both for BothSides<'_> {
    type Key = String;

    async fn load(&self, keys: &[String]) -> Result<Vec<Pair>, StoreError> {
        let mut olds = load(self.store, self.old, keys).await?;
        let mut news = load(self.store, self.new, keys).await?;
        let pair = |key| Pair { old: olds.remove(key), new: news.remove(key) };
        Ok(keys.iter().map(pair).collect())
    }
}

type Loaded = std::collections::HashMap<String, Result<Value, String>>;

async fn load(store: &dyn Store, side: &Side, keys: &[String]) -> Result<Loaded, StoreError> {
    // A document is found by its key alone, so any partition will do.
    let any = PartitionId::new(&*side.model, 0);
    let found = store.load_documents(&any, keys).await?;
    Ok(found.documents.into_iter().map(|(key, body)| (key, (side.shown)(&body))).collect())
}

impl Pair {
    fn is_equal(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(Ok(old)), Some(Ok(new))) => old == new,
            // Deleted in both versions, as a second read may find.
            (None, None) => true,
            _ => false,
        }
    }

    fn difference(self, key: String) -> Difference {
        let text = |side: Option<Result<Value, String>>| {
            side.map(|shown| shown.map_or_else(|error| error, |value| value.to_string()))
        };
        Difference { key, old: text(self.old), new: text(self.new) }
    }
}

/// Iterator over the documents of one version.
struct Walk<'a> {
    model: &'a str,
    page: std::vec::IntoIter<(String, String)>,
    last: Option<String>,
    is_over: bool,
}

impl<'a> Walk<'a> {
    fn new(side: &'a Side) -> Self {
        Self { model: &side.model, page: Vec::new().into_iter(), last: None, is_over: false }
    }

    /// Returns the next key without consuming its document.
    async fn peek(&mut self, store: &dyn Store) -> Result<Option<&str>, StoreError> {
        while self.page.as_slice().is_empty() && !self.is_over {
            let range =
                DocumentRange { after: self.last.take(), limit: PAGE, ..DocumentRange::default() };
            let StoredPage { mut documents, parked, next, .. } =
                store.list_documents(self.model, &range).await?;
            if !parked.is_empty() {
                // A list leaves them out because they are older than the checkpoint.
                let any = PartitionId::new(self.model, 0);
                documents.extend(store.load_documents(&any, &parked).await?.documents);
                documents.sort_unstable();
            }
            self.is_over = next.is_none();
            self.last = next;
            self.page = documents.into_iter();
        }
        Ok(self.page.as_slice().first().map(|(key, _)| key.as_str()))
    }
}
