//! What goes with a command and what comes back: its key, its options, [`Committed`].
//!
//! A [`CommandKey`] is the client's name for one intent. The store keeps it, with the outcome, in
//! the transaction of the events, so that a retry learns what happened and never acts twice.

mod claim;
mod refusal;

pub(crate) use self::claim::ClaimName;
pub use self::claim::{Claim, MAX_CLAIM_BYTES};
pub use self::refusal::RefusalCode;

use std::time::Instant;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::{ExpectedVersion, GlobalPosition, Metadata, StreamVersion};

/// The longest command id in bytes: room for a client's key and for whose key it is.
pub const MAX_COMMAND_ID_BYTES: usize = 512;

/// What a command that was carried out answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The aggregate's version after the command.
    pub version: StreamVersion,
    /// Where the log stood when it had the command's last event: pass it to `Read::after` to read
    /// your own write. A command that changed nothing answers its stream's last position.
    pub position: GlobalPosition,
    /// The command had been carried out before, under the same key; this is that outcome.
    pub replayed: bool,
}

/// A command's id, bound to the request it was first used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandKey {
    /// The id the client chose.
    pub id: String,
    /// A digest of the request; the same id with another fingerprint is refused.
    pub fingerprint: [u8; 16],
}

/// Why a text cannot name a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a command id has 1 to {MAX_COMMAND_ID_BYTES} bytes and no control character; this one has {bytes} bytes"
)]
pub struct InvalidCommandId {
    /// How long it was.
    pub bytes: usize,
}

impl CommandKey {
    /// Names a command. `request` is whatever makes a retry the same request: its bytes, or
    /// nothing when ids are never reused for something else.
    ///
    /// # Errors
    /// The id is empty, longer than [`MAX_COMMAND_ID_BYTES`] or holds a control character.
    pub fn new(id: impl Into<String>, request: &[u8]) -> Result<Self, InvalidCommandId> {
        let digest = Sha256::digest(request);
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&digest[..16]);
        let key = Self { id: id.into(), fingerprint };
        match key.is_valid() {
            true => Ok(key),
            false => Err(InvalidCommandId { bytes: key.id.len() }),
        }
    }

    /// The id of a command that is deferred under this key: the same in every process and release.
    pub(crate) fn deferred_id(&self) -> Uuid {
        // Another namespace would make other ids.
        const NAMESPACE: Uuid = Uuid::from_u128(0x3b0c_61f2_8d5e_4a57_b7d4_92e6_0f1a_c83d);
        Uuid::new_v5(&NAMESPACE, self.id.as_bytes())
    }

    /// Whether every store can keep it.
    pub(crate) fn is_valid(&self) -> bool {
        let Self { id, .. } = self;
        !id.is_empty() && id.len() <= MAX_COMMAND_ID_BYTES && !id.chars().any(char::is_control)
    }
}

/// Options of a command. The default is right for a first program.
///
/// ```
/// use actum::{CommandKey, CommandOptions, Metadata};
///
/// let options = CommandOptions {
///     key: Some(CommandKey::new("payment-7", b"credit 42 1250")?),
///     metadata: Metadata { actor: Some("user:ada".into()), ..Metadata::default() },
///     ..CommandOptions::default()
/// };
/// # Ok::<_, actum::InvalidCommandId>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CommandOptions {
    /// The client's name for this command; without one it cannot be recognised when retried.
    pub key: Option<CommandKey>,
    /// What the caller takes for granted about the aggregate's version.
    pub expected: ExpectedVersion,
    /// Written beside each of the command's events.
    pub metadata: Metadata,
    /// Decided by then or not at all: then it is `Overloaded`, and nothing was stored. What was
    /// decided may take longer to be stored, but is not stored on any newer state.
    pub decide_by: Option<Instant>,
    /// Size of the request that brought the command, as `Settings::command_bytes_in_flight` counts it.
    /// Default 0: then the command counts with its own size, without what it holds on the heap. The
    /// extractor of command headers sets it to the size of the body: as it was read, or else as the
    /// request declares it; a body of unknown length that was not read counts as the largest one.
    pub bytes: usize,
}

impl CommandOptions {
    /// Options with only a key.
    pub fn keyed(key: CommandKey) -> Self {
        Self { key: Some(key), ..Self::default() }
    }
}
