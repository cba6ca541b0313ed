//! The API keys of the bank's file, one JSON object a line, as the file is now.
//!
//! The file is read twice a second, and a text counts once two readings in a row agree, so a file that
//! is rewritten in place locks nobody out. Revocation wins: every line that can be read counts, a
//! broken line lets nobody in, and neither does a file that is gone. The log and the status say so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::rt;
use actum::web::Principal;
use serde::Serialize;

use super::ApiKey;

/// Two of these are the time that a key is still good after its line was deleted.
const READ_EVERY: Duration = Duration::from_millis(500);

/// The keys by their prefixes. A clone is the same one.
#[derive(Clone)]
pub(super) struct ApiKeys {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

/// State of the file of API keys, for the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KeysStatus {
    /// Keys that are good.
    keys: usize,
    /// Reasons why a line or the whole file lets nobody in; empty if all is well.
    trouble: Vec<String>,
}

#[derive(Default)]
struct State {
    keys: Arc<HashMap<String, ApiKey>>,
    /// The text that the keys are from, or the reason why there is none.
    taken: Option<Result<String, String>>,
    /// The latest reading; it is taken when the next one is the same.
    seen: Option<Result<String, String>>,
    trouble: Vec<String>,
}

impl ApiKeys {
    /// Opens the file. Unlike later, a broken line is an error, because a person is there to mend it.
    ///
    /// # Errors
    /// The file cannot be read or understood; a sentence that says where.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let keys = Self { path: path.into(), state: Arc::default() };
        let text = keys.text();
        keys.take(&text);
        match keys.status().trouble.first() {
            None => {
                keys.state().taken = Some(text);
                Ok(keys)
            }
            Some(trouble) => Err(trouble.clone()),
        }
    }

    /// Goes on reading the file for as long as the process lives.
    pub(super) fn keep_reading(&self) {
        let keys = self.clone();
        rt::spawn(async move {
            loop {
                rt::time::sleep(READ_EVERY).await;
                let keys = keys.clone();
                // A file may be far away, and slow.
                let _ = rt::task::spawn_blocking(move || keys.read()).await;
            }
        });
    }

    /// Reads the file, and takes its text if it is new and was the same the last time.
    fn read(&self) {
        let text = self.text();
        let mut state = self.state();
        let is_new = state.taken.as_ref() != Some(&text);
        let is_settled = state.seen.as_ref() == Some(&text);
        state.seen = Some(text.clone());
        if is_new && is_settled {
            state.taken = Some(text.clone());
            drop(state);
            self.take(&text);
        }
    }

    fn text(&self) -> Result<String, String> {
        std::fs::read_to_string(&self.path).map_err(|error| error.to_string())
    }

    /// Lets in the keys of this text and no others. The log has each trouble once.
    fn take(&self, text: &Result<String, String>) {
        let (keys, trouble) = match text {
            Ok(text) => parse(text),
            Err(error) => (HashMap::new(), vec![error.clone()]),
        };
        let place = self.path.display();
        let trouble: Vec<_> = trouble.iter().map(|trouble| format!("{place}: {trouble}")).collect();
        tracing::info!(keys = keys.len(), "API keys were read");
        for error in &trouble {
            tracing::error!(%error, "API keys are not let in until the file is mended");
        }
        let mut state = self.state();
        state.keys = Arc::new(keys);
        state.trouble = trouble;
    }

    /// The principal of a key, given without the mark in front.
    pub(super) fn principal(&self, key: &str) -> Option<Principal> {
        let (prefix, secret) = key.split_once('_')?;
        let keys = Arc::clone(&self.state().keys);
        keys.get(prefix)?.principal(secret)
    }

    pub(super) fn status(&self) -> KeysStatus {
        let state = self.state();
        KeysStatus { keys: state.keys.len(), trouble: state.trouble.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is under the lock is replaced whole, so a panic beside it leaves it right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most troubles that are kept of one text.
const MOST_TROUBLES: usize = 10;

/// The keys of the lines that can be read, and the trouble with the others. A prefix that two lines
/// have is in neither, because nobody can tell which of them was revoked.
fn parse(text: &str) -> (HashMap<String, ApiKey>, Vec<String>) {
    let (mut keys, mut trouble) = (HashMap::new(), Vec::new());
    let mut twice = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match key(line) {
            Ok(key) => {
                if let Some(other) = keys.insert(key.prefix.clone(), key) {
                    trouble.push(format!(
                        "line {number}: the prefix {} stands here twice",
                        other.prefix
                    ));
                    twice.push(other.prefix);
                }
            }
            Err(why) => trouble.push(format!("line {number}: {why}")),
        }
    }
    keys.retain(|prefix, _| !twice.contains(prefix));
    trouble.truncate(MOST_TROUBLES);
    (keys, trouble)
}

fn key(line: &str) -> Result<ApiKey, String> {
    // The place of the error and nothing of the line itself, which may be the secret.
    let key: ApiKey = serde_json::from_str(line)
        .map_err(|error| format!("not the JSON of a key, column {}", error.column()))?;
    key.check()?;
    Ok(key)
}
