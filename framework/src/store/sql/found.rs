//! The settings of a database as they were read back, for whoever wants to see them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Settings by name, with the value that was read last.
#[derive(Default)]
pub(crate) struct FoundSettings(Mutex<BTreeMap<&'static str, String>>);

impl FoundSettings {
    pub(crate) fn note(&self, setting: &'static str, value: &str) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(setting, value.to_owned());
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
