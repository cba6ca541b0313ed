//! Main function of a server program: runtime, error message and exit code.

use std::io::Write;
use std::process::ExitCode;

use actix_web::rt;

use super::vital;
use crate::box_error::BoxError;

/// Number of open files that a server needs before it serves any client; each connection needs one
/// more.
const FILES: usize = 128;

/// Runs a program: its future on the runtime of actix. An error is written to standard error after
/// the name of the program, with the exit code 1.
///
/// If the process loses a thread that it cannot serve without, it ends, because a supervisor can
/// restart a process that has ended, but does not notice one that only fails.
pub fn main(
    program: &'static str,
    run: impl Future<Output = Result<ExitCode, BoxError>>,
) -> ExitCode {
    let ended = enough_files().and_then(|()| {
        vital::end_without_vital_threads(program);
        rt::System::new().block_on(run)
    });
    ended.unwrap_or_else(|error| {
        // If standard error is closed too, the message is lost.
        let _ = writeln!(std::io::stderr(), "{program}: {error}");
        ExitCode::FAILURE
    })
}

/// Checks that the limit of open files is high enough to start. Otherwise the runtimes would panic.
fn enough_files() -> Result<(), BoxError> {
    let open = |_| std::fs::File::open("/dev/null");
    let opened: Result<Vec<_>, _> = (0..FILES).map(open).collect();
    opened.map(drop).map_err(|error| {
        format!("{FILES} open files are needed to start ({error}): raise the limit, ulimit -n")
            .into()
    })
}
