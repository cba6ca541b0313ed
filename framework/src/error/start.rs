//! The error of a start. An application or store that returns it has changed nothing.
//!
//! Each variant names the setting, name or file at fault and the next step. No variant carries a
//! secret: places are without credentials.

use super::StoreError;
use crate::event::GlobalPosition;

/// The application or its store did not start; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened, is in use, is not ours or is newer than this program.
    #[error("{place}: {reason}")]
    Open {
        /// The database's path or address, without credentials.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A setting would break a promise.
    #[error("{place}: unsafe setting {setting} = {found}; needed: {needed}")]
    Unsafe {
        /// The database's path or address.
        place: String,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// The log was begun by a program of another name. Open another database or schema. If it is the
    /// same program under a new name, choose the old name: `ApplicationBuilder::name`.
    #[error(
        "the log belongs to the program {found:?}, this one is named {name:?}: open another database or schema; if they are one program, give it the name {found:?} with ApplicationBuilder::name"
    )]
    OtherProgram {
        /// The name of this program.
        name: String,
        /// The name that the log keeps.
        found: String,
    },
    /// Two registrations share one name: an aggregate's `TYPE`, or the name of a read model or
    /// projection. Rename one of them.
    #[error("{0} is registered already: names are unique in an application; rename one of the two")]
    AlreadyRegistered(&'static str),
    /// The aggregate's `TYPE` names the streams of the framework itself. Choose another `TYPE`.
    #[error("the aggregate type {0:?} is reserved for accepted commands; choose another TYPE")]
    Reserved(&'static str),
    /// Streams or events of this aggregate type cannot be stored. Change its `TYPE` or its event enum.
    #[error("the aggregate type {aggregate_type:?} cannot be stored: {reason}")]
    UnstorableAggregate {
        /// `TYPE` of the aggregate.
        aggregate_type: &'static str,
        /// The part that cannot be stored, and the rule it breaks.
        reason: String,
    },
    /// A setting of the application is out of its bounds.
    #[error("the setting {setting} = {found} is out of bounds; needed: {needed}")]
    Setting {
        /// Name of the field of `Settings`.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The bounds.
        needed: String,
    },
    /// The name of a read model cannot be kept apart from others: correct its `NAME`.
    #[error(
        "{0:?} cannot be the name of a read model: it needs 1 to 100 bytes, and neither @ nor / nor control characters. Correct its NAME"
    )]
    ReadModelName(&'static str),
    /// A read model or projection has at least one partition and at most 1024.
    #[error(
        "{model} cannot have {partitions} partitions; at least 1 and at most 1024 are possible"
    )]
    Partitions {
        /// Its versioned name.
        model: String,
        /// What its `PARTITIONS` says.
        partitions: u32,
    },
    /// A version keeps the number of partitions it was begun with: raise its `VERSION`, and it is
    /// built again with the new number.
    #[error(
        "{model} was begun with {stored} partitions and now has {partitions}: raise its VERSION"
    )]
    OtherPartitions {
        /// Its versioned name.
        model: String,
        /// What its `PARTITIONS` says.
        partitions: u32,
        /// What it was begun with.
        stored: u32,
    },
    /// A version keeps the sources it was begun with: raise its `VERSION`, and it is built again
    /// with the new ones.
    #[error(
        "{model} was begun with the sources \"{stored}\" and now has \"{sources}\": raise its VERSION"
    )]
    OtherSources {
        /// Its versioned name.
        model: String,
        /// Its sources in this program.
        sources: String,
        /// The sources it was begun with.
        stored: String,
    },
    /// A version keeps the key function it was begun with: raise its `VERSION`, and it is built
    /// again with the new keys, or restore the function.
    #[error(
        "{model} was begun with another key function: it now returns other keys for the event {event_type} at position {position}. Raise its VERSION, or restore the function"
    )]
    OtherKeys {
        /// Its versioned name.
        model: String,
        /// Position of an event that has other keys now.
        position: GlobalPosition,
        /// Type of that event.
        event_type: String,
    },
    /// An aggregate has an upcaster for an event type that its events lack: correct or remove it.
    #[error(
        "the aggregate {aggregate} has an upcaster for {event_type}, which is no variant of its events: correct its name, or remove it"
    )]
    Upcaster {
        /// Type of the aggregate.
        aggregate: &'static str,
        /// The event type that the upcaster names.
        event_type: &'static str,
    },
    /// The stored documents of a read model do not decode with this program's type: it was changed
    /// and its `VERSION` was not. Raise the `VERSION`, and it is built again beside the old one; or
    /// give each new field a default, and the stored documents are read as they are.
    #[error(
        "{model}: {unfit} of {sampled} stored documents do not decode; the first is {key:?}: {reason}. Raise its VERSION to build it again, or give new fields #[serde(default)]"
    )]
    Shape {
        /// Its versioned name.
        model: String,
        /// Number of documents in the sample that do not decode.
        unfit: usize,
        /// Number of documents in the sample.
        sampled: usize,
        /// One of the documents that do not decode.
        key: String,
        /// The reason, from serde.
        reason: String,
    },
    /// The store did not answer, or a checkpoint does not fit the log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is to replace a version has another name, or no greater version.
    #[error("{name}@{version} cannot replace {old}: it needs the same name and a greater version")]
    NoSuccessor {
        /// The name of the read model or projection.
        name: &'static str,
        /// Its version.
        version: u32,
        /// The versioned name of what it should replace.
        old: String,
    },
    /// Commands of this aggregate may be deferred, but the aggregate itself is not registered.
    #[error("{0} answers later but is not registered: add .aggregate::<…>() to the builder")]
    NoAggregate(&'static str),
    /// The operating system did not give a thread.
    #[error("a thread could not be started: {0}")]
    Thread(String),
}
