//! The API keys of the bank's file, one JSON object a line, as the file is now.
//!
//! The file is looked at once a second. One that cannot be read, or has a wrong line, changes
//! nothing: the keys stay what they were, and the log says so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::rt;
use actum::web::Principal;

use super::ApiKey;

/// How long a key may still be good after its line was deleted.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The keys by their prefixes. A clone is the same one.
#[derive(Clone)]
pub(super) struct ApiKeys {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: Arc<HashMap<String, ApiKey>>,
    /// What the file was when it was last looked at: its text, or why there was none.
    seen: Option<Result<String, String>>,
}

impl ApiKeys {
    /// The keys in this file.
    ///
    /// # Errors
    /// It cannot be read or understood; a sentence that says where.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let keys = Self { path: path.into(), state: Arc::default() };
        keys.look()?;
        Ok(keys)
    }

    /// Goes on looking at the file for as long as the process lives.
    pub(super) fn keep_looking(&self) {
        let keys = self.clone();
        rt::spawn(async move {
            loop {
                rt::time::sleep(LOOK_EVERY).await;
                let keys = keys.clone();
                // A file may be far away, and slow.
                let looked = rt::task::spawn_blocking(move || keys.look()).await;
                if let Ok(Err(error)) = looked {
                    tracing::error!(%error, "the API keys stay what they were");
                }
            }
        });
    }

    /// Takes what the file holds, if it is not what it was; each trouble is told once.
    pub(super) fn look(&self) -> Result<(), String> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| error.to_string());
        if self.state().seen.as_ref() == Some(&text) {
            return Ok(());
        }
        let read = text.as_deref().map_err(Clone::clone).and_then(read);
        let mut state = self.state();
        state.seen = Some(text);
        let keys = read.map_err(|why| format!("{}: {why}", self.path.display()))?;
        tracing::info!(keys = keys.len(), "API keys were read");
        state.keys = Arc::new(keys);
        Ok(())
    }

    /// Whose key this is, without the mark in front.
    pub(super) fn principal(&self, key: &str) -> Option<Principal> {
        let (prefix, secret) = key.split_once('_')?;
        let keys = Arc::clone(&self.state().keys);
        keys.get(prefix)?.principal(secret)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is under the lock is replaced whole, so a panic beside it leaves it right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(text: &str) -> Result<HashMap<String, ApiKey>, String> {
    let mut keys = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("line {number}: {why}");
        // Where the error is, and nothing of what stands there: it may be the secret itself.
        let key: ApiKey = serde_json::from_str(line)
            .map_err(|error| wrong(&format!("not the JSON of a key, column {}", error.column())))?;
        key.check().map_err(|why| wrong(&why))?;
        if let Some(twice) = keys.insert(key.prefix.clone(), key) {
            return Err(wrong(&format!("the prefix {} stands here twice", twice.prefix)));
        }
    }
    Ok(keys)
}
