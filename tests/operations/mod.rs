//! The operations API and observability: status, metrics, spans and log lines, read from a running
//! bank as an operator or a scraper reads them.

mod log_lines;
mod metrics;
mod operators;
mod pauses;
mod spans;
mod status;
mod stories;
