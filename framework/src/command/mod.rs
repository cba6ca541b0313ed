//! Input and result of a command: its idempotency key, its options, [`Committed`].
//!
//! A [`CommandKey`] is the client's name for one intended change. The store keeps the key with the
//! outcome, in the transaction of the events. So a retry returns the first outcome and never acts
//! twice.

mod claim;
mod refusal;

pub use self::claim::ClaimName;
pub use self::claim::{Claim, MAX_CLAIM_BYTES};
#[cfg(feature = "web")]
pub(crate) use self::refusal::code_of;
pub use self::refusal::{NoRefusal, RefusalCode};

use std::time::Instant;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::{ExpectedVersion, GlobalPosition, Metadata, StreamVersion};

/// Maximum size of a command id in bytes: room for a client's key and the principal it belongs to.
pub const MAX_COMMAND_ID_BYTES: usize = 512;

/// Result of a command that was carried out.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// # use actum::{Application, store::MemoryStore};
/// # #[tokio::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// # let app = Application::builder(MemoryStore::new())
/// #     .aggregate::<Account>().read_model::<Balance>().start().await?;
/// let committed = app.execute::<Account>("42", Command::Credit { cents: 1250 }).await?;
/// assert_eq!(committed.version.0, 1);
/// let balance = app.read::<Balance>("42").after(committed.position).await?;
/// assert_eq!(balance.cents, 1250);
/// # app.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Version of the aggregate after the command.
    pub version: StreamVersion,
    /// Position of the command's last event in the log: pass it to `Read::after` to read your own
    /// write. For a command that stored no event, the position of the last event of its stream.
    pub position: GlobalPosition,
    /// True if the command had already been carried out under the same key. The result is that
    /// earlier outcome.
    pub replayed: bool,
    /// True if the command stored no event. Always false for a replayed outcome, which does not tell.
    pub(crate) is_unchanged: bool,
}

impl Committed {
    /// Creates the result, for a store that answers an append.
    pub fn new(version: StreamVersion, position: GlobalPosition, replayed: bool) -> Self {
        Self { version, position, replayed, is_unchanged: false }
    }
}

/// Idempotency key of a command: an id, bound to the request that it was first used for.
///
/// ```
/// use actum::CommandKey;
///
/// let key = CommandKey::new("payment-7", b"credit 42 1250")?;
/// // The same id for another request: refused as `KeyReused`, because one of them would be lost.
/// let other = CommandKey::new("payment-7", b"credit 42 9999")?;
/// assert_ne!(key.fingerprint, other.fingerprint);
/// # Ok::<_, actum::store::InvalidCommandId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandKey {
    /// Id that the client chose.
    pub id: String,
    /// Digest of the request. The same id with another fingerprint is refused as `KeyReused`.
    pub fingerprint: [u8; 16],
}

/// Error of [`CommandKey::new`]: the id is empty, too long, or contains a control character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a command id has 1 to {MAX_COMMAND_ID_BYTES} bytes and no control character; this one has {bytes} bytes"
)]
#[non_exhaustive]
pub struct InvalidCommandId {
    /// Length of the id in bytes.
    pub bytes: usize,
}

impl CommandKey {
    /// Creates a key. `request` is what makes a retry the same request: usually its bytes, or
    /// nothing if the client never uses an id for two requests.
    ///
    /// # Errors
    /// [`InvalidCommandId`] if the id is empty, longer than [`MAX_COMMAND_ID_BYTES`], or contains a
    /// control character.
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

    /// Id of a command that is deferred under this key: the same in every process and release.
    pub(crate) fn deferred_id(&self) -> Uuid {
        // Must never change: in another namespace a retry would get another id and run twice.
        const NAMESPACE: Uuid = Uuid::from_u128(0x3b0c_61f2_8d5e_4a57_b7d4_92e6_0f1a_c83d);
        Uuid::new_v5(&NAMESPACE, self.id.as_bytes())
    }

    /// Checks that every store can keep the id.
    pub(crate) fn is_valid(&self) -> bool {
        let Self { id, .. } = self;
        !id.is_empty() && id.len() <= MAX_COMMAND_ID_BYTES && !id.chars().any(char::is_control)
    }
}

/// Options of a command. The default has no key, no expected version and no deadline.
///
/// ```
/// use actum::{CommandKey, CommandOptions, Metadata};
///
/// let options = CommandOptions {
///     key: Some(CommandKey::new("payment-7", b"credit 42 1250")?),
///     metadata: Metadata { actor: Some("user:ada".into()), ..Metadata::default() },
///     ..CommandOptions::default()
/// };
/// # Ok::<_, actum::store::InvalidCommandId>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CommandOptions {
    /// Idempotency key. Without one, a retry is a new command.
    pub key: Option<CommandKey>,
    /// Version of the aggregate that the caller expects.
    pub expected: ExpectedVersion,
    /// Metadata that is stored with each event of the command.
    pub metadata: Metadata,
    /// Deadline of the decision. If the aggregate has not decided the command by then, the command
    /// fails with `Overloaded` and nothing is stored. A decision made in time may be committed
    /// later, but if it conflicts with newer events it is not made again after the deadline.
    pub decide_by: Option<Instant>,
    /// Size of the request that brought the command, in bytes, as
    /// `Settings::command_bytes_in_flight` counts it. The default 0 counts the size of the
    /// command's type, without its heap allocations. Over HTTP, the extractor of command headers
    /// sets it to the size of the body that was read, or else to the declared size. A body of
    /// unknown length that was not read counts as the largest one allowed.
    pub bytes: usize,
}

impl CommandOptions {
    /// Creates options with only a key.
    pub fn keyed(key: CommandKey) -> Self {
        Self { key: Some(key), ..Self::default() }
    }
}
