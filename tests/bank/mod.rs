//! The example bank as its clients see it: its wire format, input that is malformed or hostile,
//! its event streams, statements, OpenAPI document and unique names.

mod corpus;
mod events;
mod faults;
mod input;
mod later;
mod names;
mod openapi;
mod own_routes;
pub mod statement;
mod wire;
