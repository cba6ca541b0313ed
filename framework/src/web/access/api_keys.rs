//! API keys of a key file, one JSON object per line.
//!
//! The file is read twice a second, and a change takes effect when two readings in a row are equal,
//! so a file that is rewritten in place locks no client out. Revocation takes precedence: every
//! line that can be parsed counts, and neither a broken line nor a missing file lets a client in.
//! If the file cannot be read for another reason, such as too many open files, the keys stay valid
//! for a minute. The log and the status report this.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::rt;
use serde::Serialize;
use serde_json::Value;

use super::Authenticator;
use super::api_key::{ApiKey, ApiKeyFormat};
use crate::box_error::BoxError;
use crate::web::principal::Principal;

/// Interval between two readings. A key is valid for up to two intervals after its line was
/// deleted.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Time for which the keys stay valid while the file exists but cannot be read. Clients take a 401
/// for a revoked key, so a short disk failure must not cause one.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// API keys of a file that is read twice a second. Shared by clones.
///
/// A key that is added becomes valid within a second, and one that is deleted becomes invalid
/// within a second. To rotate a key, add the second key of a name before you delete the first.
///
/// ```
/// use actum::web::{ApiKeyFormat, ApiKeys};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// # let path = std::env::temp_dir().join(format!("actum-keys-{}.jsonl", std::process::id()));
/// let scopes = vec!["accounts:read".to_owned()];
/// let new = ApiKeyFormat::default().generate("shop".to_owned(), scopes, None)?;
/// println!("{}", new.key.expose()); // the credential; it is stored nowhere
/// std::fs::write(&path, format!("{}\n", new.line))?; // the line of the file
/// let keys = ApiKeys::file(&path)?; // for `Server::auth`
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ApiKeys {
    format: ApiKeyFormat,
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

/// State of the file of API keys, for the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct KeysStatus {
    /// Number of valid keys.
    keys: usize,
    /// Reasons why a line or the whole file is not accepted; empty if there are none.
    trouble: Vec<String>,
}

/// The result of reading the file once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    Text(Vec<u8>),
    Gone,
    /// The file cannot be read for a reason that may pass; it was last read within [`KEPT_FOR`].
    Kept,
    /// The file cannot be read, and was last read longer ago than that.
    Lost,
}

#[derive(Default)]
struct State {
    keys: Arc<HashMap<String, ApiKey>>,
    /// Reading that is in effect.
    taken: Option<Reading>,
    /// Latest reading. It takes effect when the next one is equal.
    seen: Option<Reading>,
    /// Time of the last reading that was a text.
    read_at: Option<Instant>,
    trouble: Vec<String>,
}

impl ApiKeys {
    /// Opens a file of keys in the default format.
    ///
    /// # Errors
    /// As [`ApiKeys::in_format`].
    pub fn file(path: impl AsRef<Path>) -> Result<Self, BoxError> {
        Self::in_format(ApiKeyFormat::default(), path)
    }

    /// Opens a file of keys and reads it periodically until the process ends. Needs the runtime of
    /// actix. At the start a broken line is an error, because a person is there to fix it.
    ///
    /// # Errors
    /// The file cannot be read or parsed; the message names the place.
    pub fn in_format(format: ApiKeyFormat, path: impl AsRef<Path>) -> Result<Self, BoxError> {
        let keys = Self::open(format, path.as_ref())?;
        keys.keep_reading();
        Ok(keys)
    }

    fn open(format: ApiKeyFormat, path: &Path) -> Result<Self, String> {
        let keys = Self { format, path: path.into(), state: Arc::default() };
        keys.take(keys.reading(Instant::now()));
        match keys.state().trouble.first() {
            None => Ok(()),
            Some(trouble) => Err(format!("API keys cannot be read from {trouble}")),
        }?;
        Ok(keys)
    }

    fn keep_reading(&self) {
        let keys = self.clone();
        rt::spawn(async move {
            loop {
                rt::time::sleep(READ_EVERY).await;
                let keys = keys.clone();
                // On a blocking thread, because the file may be on a slow network disk.
                let _ = rt::task::spawn_blocking(move || keys.read(Instant::now())).await;
            }
        });
    }

    /// Reads the file. The reading takes effect if it is new and equal to the one before.
    fn read(&self, now: Instant) {
        let (reading, why) = self.reading(now);
        let mut state = self.state();
        let is_new = state.taken.as_ref() != Some(&reading);
        let is_settled = state.seen.as_ref() == Some(&reading);
        state.seen = Some(reading.clone());
        if is_new && is_settled {
            drop(state);
            self.take((reading, why));
        }
    }

    /// Reads the file. Returns the error message too, if there is one.
    fn reading(&self, now: Instant) -> (Reading, String) {
        let read = std::fs::read(&self.path);
        let mut state = self.state();
        match read {
            Ok(text) => {
                state.read_at = Some(now);
                (Reading::Text(text), String::new())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (Reading::Gone, error.to_string())
            }
            Err(error) => {
                let is_kept = state.read_at.is_some_and(|at| now.duration_since(at) < KEPT_FOR);
                (if is_kept { Reading::Kept } else { Reading::Lost }, error.to_string())
            }
        }
    }

    /// Applies a reading: its keys are valid, and no others. Each problem is logged once.
    fn take(&self, (reading, why): (Reading, String)) {
        let (keys, trouble) = match &reading {
            Reading::Text(text) => {
                let (keys, trouble) = parse(&self.format, text);
                (Some(keys), trouble)
            }
            Reading::Kept => {
                let seconds = KEPT_FOR.as_secs();
                (None, vec![format!("{why}; its keys stay valid for {seconds} seconds")])
            }
            Reading::Gone | Reading::Lost => (Some(HashMap::new()), vec![why]),
        };
        let place = self.path.display();
        let trouble: Vec<_> = trouble.iter().map(|trouble| format!("{place}: {trouble}")).collect();
        if let Some(keys) = &keys {
            tracing::info!(keys = keys.len(), "API keys were read");
        }
        for error in &trouble {
            match reading {
                Reading::Kept => tracing::error!(%error, "the file of API keys cannot be read"),
                _ => {
                    tracing::error!(%error, "these API keys are invalid until the file is corrected")
                }
            }
        }
        let mut state = self.state();
        if let Some(keys) = keys {
            state.keys = Arc::new(keys);
        }
        state.taken = Some(reading);
        state.trouble = trouble;
    }

    fn keys_status(&self) -> KeysStatus {
        let state = self.state();
        KeysStatus { keys: state.keys.len(), trouble: state.trouble.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Values under the lock are replaced as a whole, so a poisoned lock is still valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticator for ApiKeys {
    fn principal(&self, credential: &str) -> Option<Principal> {
        let (prefix, secret) = self.format.unmarked(credential)?.split_once('_')?;
        let keys = Arc::clone(&self.state().keys);
        keys.get(prefix)?.principal(secret)
    }

    fn status(&self) -> Option<(&'static str, Value)> {
        // Cannot fail, because a number and texts are always valid JSON.
        let status = serde_json::to_value(self.keys_status()).unwrap_or_default();
        Some(("api_keys", status))
    }
}

/// Maximum number of problems that are reported for one reading.
const MOST_TROUBLES: usize = 10;

/// Parses the lines into keys and problems. If two lines have the same prefix, neither is valid,
/// because it is unknown which of them was revoked.
fn parse(format: &ApiKeyFormat, text: &[u8]) -> (HashMap<String, ApiKey>, Vec<String>) {
    let (mut keys, mut trouble) = (HashMap::new(), Vec::new());
    let mut twice = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        match key(format, line) {
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

fn key(format: &ApiKeyFormat, line: &[u8]) -> Result<ApiKey, String> {
    // Only the column, because the line may contain a secret.
    let key: ApiKey = serde_json::from_slice(line)
        .map_err(|error| format!("not the JSON of a key, column {}", error.column()))?;
    key.check(format)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: ApiKeyFormat = ApiKeyFormat { mark: "shop", scopes: &[] };

    /// A key file with one key, in a directory of its own.
    struct File {
        path: PathBuf,
        line: String,
        key: String,
    }

    impl File {
        fn new(name: &str) -> Self {
            let folder = format!("actum-keys-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            let new = FORMAT.generate("shop".into(), Vec::new(), None).unwrap();
            let line = serde_json::to_string(&new.line).unwrap() + "\n";
            let key = new.key.expose().to_owned();
            let file = Self { path: folder.join("keys"), line, key };
            file.write(file.line.as_bytes());
            file
        }

        fn write(&self, text: &[u8]) {
            std::fs::write(&self.path, text).unwrap();
        }

        /// Replaces the file by a directory, which exists but cannot be read.
        fn make_unreadable(&self) {
            std::fs::remove_file(&self.path).unwrap();
            std::fs::create_dir(&self.path).unwrap();
        }

        fn make_readable(&self) {
            std::fs::remove_dir(&self.path).unwrap();
            self.write(self.line.as_bytes());
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            if let Some(folder) = self.path.parent() {
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }

    /// Reads the file twice. Returns the number of keys and of problems.
    fn read(keys: &ApiKeys, now: Instant) -> (usize, usize) {
        keys.read(now);
        keys.read(now);
        let status = keys.keys_status();
        (status.keys, status.trouble.len())
    }

    #[test]
    fn bytes_that_are_no_text_cost_their_own_line_only() {
        let file = File::new("latin");
        let keys = ApiKeys::open(FORMAT, &file.path).unwrap();
        let line = file.line.as_bytes();
        let now = Instant::now();
        file.write(&[b"# caf\xe9\r\n\r\n", line, b"\xff\xfe\n"].concat());
        assert_eq!(read(&keys, now), (1, 1));
        assert!(keys.keys_status().trouble[0].contains("line 4"), "{:?}", keys.keys_status());
        assert!(keys.principal(&file.key).is_some());
        file.write(&[b"# caf\xe9\n", line].concat());
        assert_eq!(read(&keys, now), (1, 0));
        assert!(
            ApiKeys::open(FORMAT, &file.path).is_ok(),
            "a comment keeps a server from starting"
        );
    }

    #[test]
    fn keys_stay_for_a_while_if_the_file_is_there_and_cannot_be_read() {
        let file = File::new("unreadable");
        let keys = ApiKeys::open(FORMAT, &file.path).unwrap();
        let now = Instant::now();
        file.make_unreadable();
        assert_eq!(read(&keys, now), (1, 1));
        assert!(keys.principal(&file.key).is_some());
        file.make_readable();
        assert_eq!(read(&keys, now), (1, 0));
        file.make_unreadable();
        assert_eq!(read(&keys, now + KEPT_FOR / 2), (1, 1));
        assert_eq!(read(&keys, now + KEPT_FOR), (0, 1), "they stay for ever");
        file.make_readable();
        assert_eq!(read(&keys, now + KEPT_FOR), (1, 0));
        std::fs::remove_file(&file.path).unwrap();
        assert_eq!(read(&keys, now + KEPT_FOR), (0, 1), "the file is gone");
    }
}
