//! Ends the process when a thread has failed without which it cannot serve.
//!
//! A panic of a handler costs one request, so most panics are only logged. Two are fatal. The date
//! task of the HTTP server ends when the clock leaves the years 1970 to 9999; after that its worker
//! responds to every request with 408. And without the committer nothing is written any more. A
//! supervisor can restart a process that has ended, but does not notice one that only fails.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

/// Maximum duration of a stop: draining commands, saving read models, sending the last responses.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Name of the program, as it is known once the hook is installed.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Installs a panic hook that ends the process after a fatal panic.
pub(super) fn end_without_vital_threads(program: &'static str) {
    let _ = PROGRAM.set(program); // the first name stays
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let thread = std::thread::current();
        let file = panic.location().map_or("", |location| location.file());
        if let Some(lost) = lost(thread.name().unwrap_or_default(), file) {
            end(lost);
        }
    }));
}

/// Ends the process if a stop that begins now takes too long. This happens on a thread of its own,
/// because a stop that hangs may block the runtime too.
pub(super) fn end_after_stop() {
    let wait = || {
        std::thread::sleep(STOP_WITHIN);
        end("the stop took longer than 60 s; acknowledged commands are on disk");
    };
    // Without the thread the stop has no deadline, which is no reason to fail it.
    let _ = std::thread::Builder::new().name("actum-stop".into()).spawn(wait);
}

/// Describes what a panic in this thread, raised in this source file, means. Returns `None` if the
/// process can continue.
fn lost(thread: &str, file: &str) -> Option<&'static str> {
    if file.contains("/httpdate-") {
        return Some(
            "the system clock shows a year before 1970 or after 9999, so HTTP answers cannot be \
             dated. Set the clock and start the program again",
        );
    }
    (thread == "actum-committer").then_some(
        "the thread that writes the log has panicked; acknowledged commands are on disk. Start the \
         program again and report the panic above",
    )
}

fn end(reason: &str) -> ! {
    // If standard error is closed, the message is lost.
    let program = PROGRAM.get().copied().unwrap_or("actum");
    let _ = writeln!(std::io::stderr(), "{program}: {reason}");
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_that_ends_all_service_ends_the_process() {
        let registry = "/root/.cargo/registry/src/index/";
        let dated = format!("{registry}httpdate-1.0.3/src/date.rs");
        assert!(lost("actix-rt|system:0|arbiter:1", &dated).is_some());
        assert!(lost("actum-committer", "framework/src/store/committer.rs").is_some());
        for (thread, file) in [
            ("actix-rt|system:0|arbiter:1", "example-bank/src/account.rs"),
            ("main", "example-bank/src/httpdate.rs"),
            ("", ""),
        ] {
            assert_eq!(lost(thread, file), None, "{thread} {file}");
        }
    }
}
