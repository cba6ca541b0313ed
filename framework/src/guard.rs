//! User code behind a guard: a panic becomes a message.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Runs user code; a panic in it is answered as its message.
///
/// The caller throws away whatever the code may have left half changed; that is why asserting
/// unwind safety is right here.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| message(&*panic))
}

/// Awaits user code; a panic in it is answered as its message. The future is not polled again then.
pub(crate) async fn guarded_async<T>(code: impl Future<Output = T>) -> Result<T, String> {
    let mut code = std::pin::pin!(code);
    poll_fn(|context| match guarded(|| code.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
