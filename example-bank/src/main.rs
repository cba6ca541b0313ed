//! The bank's executable; `cli.rs` has its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    example_bank::run()
}
