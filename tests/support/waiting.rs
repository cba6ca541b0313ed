//! Waiting for a condition or an answer, never without a limit.
//!
//! Each function panics at its caller's line when the limit is over.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

/// Longest wait of [`until`] and [`within`]: far more than anything takes that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for an answer, at most [`PATIENCE`].
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    at_most(PATIENCE, future)
}

/// Waits for an answer, at most so long.
#[track_caller]
pub fn at_most<T>(limit: Duration, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let answer = timeout(limit, future).await;
        answer.unwrap_or_else(|_| panic!("{caller}: no answer within {limit:?}"))
    }
}

/// Polls a condition until it holds, at most [`PATIENCE`].
#[track_caller]
pub fn until(mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let look =
        async move || if holds().await { Ok(()) } else { Err("the condition does not hold") };
    poll(PATIENCE, look)
}

/// Polls until `look` returns `Ok`, at most so long. The panic shows the last `Err`.
#[track_caller]
pub fn poll<T, E: Debug>(
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let mut last = None;
        let found = timeout(limit, async {
            loop {
                match look().await {
                    Ok(found) => return found,
                    Err(error) => last = Some(error),
                }
                sleep(PAUSE).await;
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("{caller}: after {limit:?} still: {last:?}"))
    }
}

/// Polls until `look` returns `Ok`, at most so long, and blocks the thread meanwhile.
#[track_caller]
pub fn block_until<T, E: Debug>(limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(began.elapsed() < limit, "after {limit:?} still: {last:?}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// `Ok` if the condition holds for this value, and otherwise the value as the error to show.
pub fn check<T>(value: T, holds: impl FnOnce(&T) -> bool) -> Result<T, T> {
    if holds(&value) { Ok(value) } else { Err(value) }
}
