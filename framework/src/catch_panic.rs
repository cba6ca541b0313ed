//! Panic isolation: runs user code and turns a panic into an error message.
//!
//! [`guarded`] and [`guarded_async`] isolate a call. [`Isolated`] isolates a value whose `Drop` is
//! user code. A second panic during unwinding aborts the process; no library can prevent that.

use std::any::Any;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Runs user code. If it panics, returns the message of the panic as an error.
///
/// Asserting unwind safety is correct because every caller discards the state that a panic may have
/// left inconsistent.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// Awaits user code. If it panics, returns the message of the panic as an error, and does not poll
/// the future again.
pub(crate) async fn guarded_async<T>(code: impl Future<Output = T>) -> Result<T, String> {
    let mut code = std::pin::pin!(code);
    poll_fn(|context| match guarded(|| code.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    // The payload is a value of user code too (`panic_any`). If its `Drop` panics, that second
    // payload is leaked.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    text
}

/// A value of a user's type whose drop never unwinds: a panic in its `Drop` is logged.
///
/// Wrap every such value that an actor, a queue or a lock of the runtime owns. A panic there would
/// end the actor with everything that is queued for it.
pub(crate) struct Isolated<T>(Option<T>);

impl<T> Isolated<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value, for code outside the runtime or in its own panic isolation.
    pub(crate) fn into_inner(mut self) -> T {
        match self.0.take() {
            Some(value) => value,
            // Only this method and `drop` take the value, and both consume the wrapper.
            None => unreachable!("the value is there until the wrapper is gone"),
        }
    }
}

impl<T> Deref for Isolated<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            // Only `into_inner` and `drop` take the value, and both consume the wrapper.
            None => unreachable!("the value is there until the wrapper is gone"),
        }
    }
}

impl<T> DerefMut for Isolated<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(value) => value,
            // Only `into_inner` and `drop` take the value, and both consume the wrapper.
            None => unreachable!("the value is there until the wrapper is gone"),
        }
    }
}

impl<T> Drop for Isolated<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if let Err(panic) = guarded(move || drop(value)) {
            let of = std::any::type_name::<T>();
            tracing::error!(
                of,
                panic,
                "a Drop of user code panicked; the value is dropped nevertheless"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_panic_in_drop_stays_inside_the_wrapper() {
        let outcome = guarded(|| drop(Isolated::new(vec![Bomb])));
        assert_eq!(outcome, Ok(()));
        assert_eq!(guarded(|| drop(Isolated::new(Bomb).into_inner())), Err("dropped".to_owned()));
    }

    #[test]
    fn a_panic_whose_payload_panics_is_a_message_too() {
        let outcome: Result<(), String> = guarded(|| panic_any(Bomb));
        assert_eq!(outcome, Err("a panic without a message".to_owned()));
    }
}
