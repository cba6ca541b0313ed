//! The one runtime of everything that follows the log: read models, projections and reactions.
//!
//! Several processes share the partitions of a follower. An [`Assignment`] says which ones this
//! process should own, and a [`LeaseSession`] is the right to write one of them. A
//! [`Driver`](driver::Driver) runs a [`Follower`] while this process owns its partition.
//! [`PartitionProgress`] reports how far it is and which of its keys are parked.

mod aside;
mod assignment;
mod checkpoint_writer;
mod control;
mod driver;
mod fair_share;
mod follower;
mod launch;
mod lease_session;
mod membership;
mod on_a_thread;
mod pacing;
pub(crate) mod parking;
mod progress;
mod registry;
mod renewal;
mod replay;
mod retry;
#[cfg(test)]
mod tests;

pub(crate) use self::assignment::register_version;
pub(crate) use self::checkpoint_writer::{CheckpointWriter, Reached, UpdateDraft};
pub(crate) use self::control::{FollowerControl, Followers};
pub(crate) use self::follower::{End, Follower, NextPage, Plan};
pub(crate) use self::launch::{Followed, Launch, Launched};
pub(crate) use self::lease_session::{LeaseGrant, LeaseSession};
pub(crate) use self::membership::LeaseRenewer;
pub(crate) use self::pacing::Pacing;
pub(crate) use self::progress::{PartitionProgress, Progress, State, overall};
pub(crate) use self::replay::{NotReplayed, replay};
pub(crate) use self::retry::Retry;
