//! Panic isolation: runs user code and turns its panic into a message.
//!
//! [`guarded`] and [`guarded_async`] isolate a call, [`Isolated`] a value whose `Drop` is user code.
//! A second panic while the first one unwinds aborts the process; no library can prevent that.

use std::any::Any;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Runs user code and returns the message of its panic as an error.
///
/// Asserting unwind safety is right because every caller throws away what the code may have left
/// half changed.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// Awaits user code and returns the message of its panic as an error. A future that panicked is not
/// polled again.
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
    // The payload is user code's too (`panic_any`): if its drop panics, that second payload is leaked.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    text
}

/// A value of a user's type. Dropping it never unwinds: a panic in its `Drop` is logged.
///
/// Wrap every such value that an actor, a queue or a lock of the runtime owns, because a panic there
/// would end the actor together with all that waits for it.
pub(crate) struct Isolated<T>(Option<T>);

impl<T> Isolated<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value itself, for code that runs outside the runtime or in isolation of its own.
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
                "a Drop of user code panicked; its value is gone all the same"
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
