//! Everything that is tested across crates, as one binary.

mod aggregates;
mod bank;
mod bank_faults;
mod bank_input;
mod bank_program;
mod chaos;
mod child;
mod competing;
mod conformance;
mod counter;
mod crash;
mod directory;
mod disk;
mod document_keys;
mod faults;
mod http;
mod oracle;
mod overload;
mod postgres;
mod process;
mod proxy;
mod read_models;
mod sqlite;
mod tidy;
mod versions;
mod watched;
