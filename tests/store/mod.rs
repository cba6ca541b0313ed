//! Every store against one conformance suite and one executable specification, and the properties of
//! SQLite (`sqlite/`) and PostgreSQL (`postgres/`) that no other store shares.

mod conformance;
mod intercepted;
pub mod json_lines;
mod oracle;
mod postgres;
mod program_name;
pub mod sqlite;
mod stored;
