//! The README, followed literally: its first program, its `curl` lines, and its two banks on one
//! PostgreSQL.

mod curl;
mod first_program;
mod two_banks;
