//! Failpoints: places where a test aborts the process, to prove that nothing is lost there.
//!
//! With the feature `failpoints`, which is for tests only, the environment variable
//! `ACTUM_CRASH_AT=name:n` aborts the process when it reaches the failpoint `name` for the n-th
//! time. An abort runs no destructor and flushes nothing, like a kill. Without the feature a
//! failpoint does nothing.
//!
//! The failpoints: `command.accepted`, `append.before_commit`, `append.after_commit`,
//! `entity.before_reply`, `snapshot.before_commit`, `documents.before_commit`,
//! `read_model.before_save`, `read_model.after_save`, `projection.before_commit`,
//! `projection.after_commit`, `later.accepted`, `later.due`, `later.before_outcome`,
//! `later.after_outcome`, `later.called`, `later.before_checkpoint`, `later.after_checkpoint`,
//! `process.due`, `process.executed`, `process.input_stored`, `process.before_checkpoint`,
//! `process.after_checkpoint`, `handler.handled`, `handler.before_checkpoint`,
//! `handler.after_checkpoint`, `migrate`, `shutdown`.

#[cfg(not(feature = "failpoints"))]
pub(crate) use self::disabled::point;
#[cfg(feature = "failpoints")]
pub(crate) use self::enabled::point;

#[cfg(not(feature = "failpoints"))]
mod disabled {
    /// Does nothing.
    #[inline(always)]
    pub(crate) fn point(_name: &str) {}
}

#[cfg(feature = "failpoints")]
mod enabled {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct CrashAt {
        name: String,
        passes_left: AtomicU64,
    }

    /// Aborts the process if `ACTUM_CRASH_AT` names this failpoint and this pass.
    pub(crate) fn point(name: &str) {
        static CRASH_AT: OnceLock<Option<CrashAt>> = OnceLock::new();
        let Some(crash_at) = CRASH_AT.get_or_init(from_environment) else { return };
        if crash_at.name == name && crash_at.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }

    fn from_environment() -> Option<CrashAt> {
        let text = std::env::var("ACTUM_CRASH_AT").ok()?;
        let (name, pass) = text.rsplit_once(':')?;
        Some(CrashAt { name: name.to_owned(), passes_left: AtomicU64::new(pass.parse().ok()?) })
    }
}
