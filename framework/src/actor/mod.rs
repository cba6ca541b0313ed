//! The actors: one for each live aggregate instance, one for each read model. No SQL here.

mod admission;
mod arbiters;
mod decide;
mod deciding;
mod entity;
mod load;
mod mailbox;
pub(crate) mod read_model;
mod router;
mod running_keys;
mod settle;
mod ticket;

pub(crate) use admission::Admission;
pub(crate) use arbiters::Arbiters;
pub(crate) use deciding::Deciding;
pub(crate) use router::{Router, RouterControl};
pub(crate) use running_keys::RunningKeys;
