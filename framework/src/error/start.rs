//! Error of a start. An application or store that returns it has changed nothing.
//!
//! Each variant names the setting, name or file that is wrong, and the next step. No variant
//! contains a secret: places are without credentials.

use super::StoreError;
use crate::event::GlobalPosition;

/// Error of starting the application or opening its store. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be opened, is in use, belongs to another program or is newer than this
    /// program.
    #[error("{place}: {reason}")]
    Open {
        /// Path or address of the database, without credentials.
        place: String,
        /// Cause and next step.
        reason: String,
    },
    /// A setting of the database would break a promise of the framework. Change the setting.
    #[error("{place}: unsafe setting {setting} = {found}; needed: {needed}")]
    Unsafe {
        /// Path or address of the database, without credentials.
        place: String,
        /// Name of the setting.
        setting: &'static str,
        /// Current value.
        found: String,
        /// Required value.
        needed: &'static str,
    },
    /// The log was created by a program of another name. Open another database or schema. If it is
    /// the same program under a new name, use the old name: `ApplicationBuilder::name`.
    #[error(
        "the log belongs to the program {found:?}, this one is named {name:?}: open another database or schema; if they are one program, give it the name {found:?} with ApplicationBuilder::name"
    )]
    OtherProgram {
        /// Name of this program.
        name: String,
        /// Name that is stored in the log.
        found: String,
    },
    /// Two registrations have the same name: an aggregate's `TYPE`, or the name of a read model, a
    /// projection or an event handler. Rename one of them.
    #[error("{0} is registered already: names are unique in an application; rename one of the two")]
    AlreadyRegistered(&'static str),
    /// The aggregate's `TYPE` is reserved for streams of the framework. Choose another `TYPE`.
    #[error(
        "the aggregate type {0:?} is reserved for streams of the framework; choose another TYPE"
    )]
    Reserved(&'static str),
    /// Streams or events of this aggregate type cannot be stored. Change its `TYPE` or its event
    /// enum.
    #[error("the aggregate type {aggregate_type:?} cannot be stored: {reason}")]
    UnstorableAggregate {
        /// `TYPE` of the aggregate.
        aggregate_type: &'static str,
        /// Rule that is broken, and the part that breaks it.
        reason: String,
    },
    /// A setting of the application is out of its bounds. Change the field that the error names.
    #[error("the setting {setting} = {found} is out of bounds; needed: {needed}")]
    Setting {
        /// Name of the field of `Settings`.
        setting: &'static str,
        /// Current value.
        found: String,
        /// Allowed values.
        needed: String,
    },
    /// The name of a read model or event handler is empty, too long or contains a reserved
    /// character. Correct its `NAME`.
    #[error(
        "{0:?} is not a valid name of a read model or event handler: use 1 to 100 bytes without @, / and control \
         characters. Correct its NAME"
    )]
    ReadModelName(&'static str),
    /// The number of partitions of a read model or projection is not between 1 and 1024. Correct
    /// its `PARTITIONS`.
    #[error(
        "{model} has {partitions} partitions, but 1 to 1024 are allowed: correct its PARTITIONS"
    )]
    Partitions {
        /// Versioned name of the read model or projection, such as `balance@2`.
        model: String,
        /// Value of its `PARTITIONS`.
        partitions: u32,
    },
    /// The number of partitions has changed, but a version keeps the number it was created with.
    /// Raise its `VERSION`: it is then built again with the new number.
    #[error(
        "{model} was created with {stored} partitions and now has {partitions}: raise its VERSION"
    )]
    OtherPartitions {
        /// Versioned name of the read model or projection.
        model: String,
        /// Value of its `PARTITIONS`.
        partitions: u32,
        /// Number that the version was created with.
        stored: u32,
    },
    /// The sources have changed, but a version keeps the sources it was created with. Raise its
    /// `VERSION`: it is then built again with the new sources.
    #[error(
        "{model} was created with the sources \"{stored}\" and now has \"{sources}\": raise its \
         VERSION"
    )]
    OtherSources {
        /// Versioned name of the read model or projection.
        model: String,
        /// Sources in this program.
        sources: String,
        /// Sources that the version was created with.
        stored: String,
    },
    /// The key function returns other keys than before, but a version keeps the keys it was created
    /// with. Raise its `VERSION`: it is then built again with the new keys. Or restore the
    /// function.
    #[error(
        "{model} was created with another key function: it now returns other keys for the event \
         {event_type} at position {position}. Raise its VERSION, or restore the function"
    )]
    OtherKeys {
        /// Versioned name of the read model or projection.
        model: String,
        /// Position of an event that has other keys now.
        position: GlobalPosition,
        /// Type of that event.
        event_type: String,
    },
    /// In this database the name belongs to something of another kind, such as a read model, whose
    /// checkpoint means something else. Give the event handler or process manager another `NAME`.
    #[error("{0} is of another kind in this database, such as a read model: choose another NAME")]
    OtherKind(&'static str),
    /// An event handler or process manager is to start after a position that the log does not have.
    /// Name a position of this log.
    #[error(
        "{name} is to start after position {position}, but the log ends at {head}: name a position \
         of this log"
    )]
    StartPosition {
        /// `NAME` of the event handler or process manager.
        name: &'static str,
        /// Position given to the builder.
        position: GlobalPosition,
        /// Last position of the log.
        head: GlobalPosition,
    },
    /// An aggregate has an upcaster for an event type that is not a variant of its events. Correct
    /// the name, or remove the upcaster.
    #[error(
        "the aggregate {aggregate} has an upcaster for {event_type}, which is not a variant of \
         its events: correct its name, or remove it"
    )]
    Upcaster {
        /// `TYPE` of the aggregate.
        aggregate: &'static str,
        /// Event type that the upcaster names.
        event_type: &'static str,
    },
    /// The stored documents of a read model do not decode as this program's type: the type was
    /// changed and its `VERSION` was not. Raise the `VERSION`: the documents are then built again
    /// beside the old ones. Or give each new field a default: the stored documents then decode.
    #[error(
        "{model}: {unfit} of {sampled} stored documents do not decode; the first is {key:?}: {reason}. Raise its VERSION to build it again, or give new fields #[serde(default)]"
    )]
    Shape {
        /// Versioned name of the read model.
        model: String,
        /// Number of documents in the sample that do not decode.
        unfit: usize,
        /// Number of documents in the sample.
        sampled: usize,
        /// Key of one of the documents that do not decode.
        key: String,
        /// Error message of serde.
        reason: String,
    },
    /// The store is not available, or a checkpoint does not fit the log. See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A replacement has another name than the version it replaces, or not a greater version.
    /// Correct `NAME` or `VERSION`.
    #[error("{name}@{version} cannot replace {old}: it needs the same name and a greater version")]
    NoSuccessor {
        /// Name of the read model or projection.
        name: &'static str,
        /// Version of the replacement.
        version: u32,
        /// Versioned name of the one to be replaced.
        old: String,
    },
    /// Commands of this aggregate may be deferred, but the aggregate is not registered. Register it
    /// with the builder.
    #[error(
        "commands of {0} are to be carried out, but it is not registered: add .aggregate::<…>() to the builder"
    )]
    NoAggregate(&'static str),
    /// The operating system refused to start a thread. Check the process's limits.
    #[error("a thread could not be started: {0}")]
    Thread(String),
}
