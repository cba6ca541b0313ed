//! Several real processes on one log in PostgreSQL, and what may go wrong between them.
//!
//! `scripts/chaos` repeats each fault more often than the normal test run does. What a test has
//! survived it prints, on lines that begin with `survived`.

mod documents;
mod driver;
mod hot_account;
mod log;
mod nemesis;
mod order;
mod owners;
mod partitions;
mod saves;
mod transfers;

/// Factor for the normal number of faults: `ACTUM_CHAOS_ROUNDS`, or 1.
fn rounds() -> usize {
    let named = std::env::var("ACTUM_CHAOS_ROUNDS").ok();
    named.map_or(1, |rounds| rounds.parse().expect("ACTUM_CHAOS_ROUNDS is a number"))
}
