//! A text that nobody gets to see by mistake.

use std::fmt;

/// A secret: shown as `***`, whoever formats it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for who must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
