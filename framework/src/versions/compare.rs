//! Two versions of a read model, side by side: what a rebuild changed, before it serves.
//!
//! All documents of both are walked in the order of their keys and compared as the new version shows
//! them. Both go on folding meanwhile, so what differs is looked at again some times; what then still
//! differs is different, or changes all the time.

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::document::Store;
use crate::error::StoreError;
use crate::version::{Comparison, Difference};

/// How many documents are read at a time.
const PAGE: usize = 1_000;

/// How many differences are looked at again; more than that are not the work of a late fold.
const LOOKED_AT_AGAIN: usize = 1_000;

/// How often they are looked at again, and after what rest: an owner saves more often than that.
const LOOKS: usize = 10;
const REST: Duration = Duration::from_millis(100);

/// How many differences are shown.
const SHOWN: usize = 10;

/// Shows a body as a version sees it.
pub(crate) type Shown = fn(&str) -> Result<Value, String>;

/// The documents of one version.
pub(crate) struct Side {
    /// Such as `balance@1`.
    pub(crate) model: String,
    /// What is compared of a body: the document as the new version shows it.
    pub(crate) shown: Shown,
}

/// One document on both sides, as far as it is there.
struct Pair {
    old: Option<Result<Value, String>>,
    new: Option<Result<Value, String>>,
}

/// Walks through both sides.
///
/// # Errors
/// The store did not answer.
pub(crate) async fn compare(
    store: &dyn Store,
    old: &Side,
    new: &Side,
) -> Result<Comparison, StoreError> {
    let mut found = Comparison::default();
    let mut differing = Vec::new();
    let (mut olds, mut news) = (Walk::new(old), Walk::new(new));
    loop {
        let order = match (olds.peek(store).await?, news.peek(store).await?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.as_bytes().cmp(right.as_bytes()),
        };
        let left = if order.is_le() { olds.page.next() } else { None };
        let right = if order.is_ge() { news.page.next() } else { None };
        found.old_documents += u64::from(left.is_some());
        found.new_documents += u64::from(right.is_some());
        let key = left.as_ref().or(right.as_ref()).map(|(key, _)| key.clone()).unwrap_or_default();
        let pair = Pair {
            old: left.map(|(_, body)| (old.shown)(&body)),
            new: right.map(|(_, body)| (new.shown)(&body)),
        };
        match pair.is_equal() {
            true => found.equal += 1,
            false if differing.len() < LOOKED_AT_AGAIN => differing.push((key, pair)),
            false => found.different += 1,
        }
    }
    for _ in 0..LOOKS {
        if differing.is_empty() {
            break;
        }
        tokio::time::sleep(REST).await;
        found.equal += look_again(store, old, new, &mut differing).await?;
    }
    found.different += differing.len() as u64;
    let shown = differing.into_iter().take(SHOWN).map(|(key, pair)| pair.difference(key));
    found.differences = shown.collect();
    Ok(found)
}

/// Lets go of those that are equal by now, and answers how many those are.
async fn look_again(
    store: &dyn Store,
    old: &Side,
    new: &Side,
    differing: &mut Vec<(String, Pair)>,
) -> Result<u64, StoreError> {
    let keys: Vec<_> = differing.iter().map(|(key, _)| key.clone()).collect();
    let mut olds = load(store, old, &keys).await?;
    let mut news = load(store, new, &keys).await?;
    let before = differing.len();
    differing.retain_mut(|(key, pair)| {
        *pair = Pair { old: olds.remove(key), new: news.remove(key) };
        !pair.is_equal()
    });
    Ok((before - differing.len()) as u64)
}

type Loaded = std::collections::HashMap<String, Result<Value, String>>;

async fn load(store: &dyn Store, side: &Side, keys: &[String]) -> Result<Loaded, StoreError> {
    let documents = store.load_documents(&side.model, keys).await?;
    Ok(documents.into_iter().map(|(key, body)| (key, (side.shown)(&body))).collect())
}

impl Pair {
    fn is_equal(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(Ok(old)), Some(Ok(new))) => old == new,
            // Both lost it, as when the second look finds neither.
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

/// One side's documents, one after the other.
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

    /// The next key.
    async fn peek(&mut self, store: &dyn Store) -> Result<Option<&str>, StoreError> {
        if self.page.as_slice().is_empty() && !self.is_over {
            let page = store.scan_documents(self.model, self.last.as_deref(), PAGE).await?;
            self.is_over = page.is_empty();
            self.last = page.last().map(|(key, _)| key.clone());
            self.page = page.into_iter();
        }
        Ok(self.page.as_slice().first().map(|(key, _)| key.as_str()))
    }
}
