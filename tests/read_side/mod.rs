//! Read models, projections and live streams: own writes, parked keys, rebuilds, versions, and events
//! that feed several documents.

mod document_keys;
mod live;
mod many_keys;
mod parking;
mod projections;
mod read_models;
mod rebuild;
mod versions;
