//! The real bank as a process for tests, with the crash points compiled in.

fn main() -> std::process::ExitCode {
    example_bank::run()
}
