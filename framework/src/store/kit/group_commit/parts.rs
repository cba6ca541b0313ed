//! Splits a call that is too large for one transaction.
//!
//! The parts are committed one after the other, and chains between them hold. Only an append that is
//! too large by itself is refused.

use super::{Committer, MAX_CALL_BYTES};
use crate::event::{ExpectedVersion, StreamId, StreamVersion};
use crate::store::contract::{Append, AppendOutcome, NotCommitted};

impl<S: Send + 'static> Committer<S> {
    /// Appends one part after the other. An append that is chained to the last one of the part before
    /// follows it only if that one was stored just now: then the version that it led to says the same.
    pub(super) async fn append_in_parts(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let mut outcomes = Vec::with_capacity(appends.len());
        let mut appends = appends.into_iter().peekable();
        let mut last: Option<(StreamId, StreamVersion)> = None;
        while let Some(mut first) = appends.next() {
            if let Some((stream, version)) = last.take()
                && first.chained
                && first.stream == stream
                && first.expected.admits(version)
            {
                first.expected = ExpectedVersion::Exact(version);
                first.chained = false;
            }
            if first.bytes() > MAX_CALL_BYTES {
                let reason = format!(
                    "one append has {} bytes; at most {MAX_CALL_BYTES} fit in a transaction",
                    first.bytes()
                );
                outcomes.push(AppendOutcome::NotCommitted(NotCommitted::Invalid(reason)));
                continue;
            }
            let (mut bytes, mut part) = (first.bytes(), vec![first]);
            while let Some(next) = appends.next_if(|next| bytes + next.bytes() <= MAX_CALL_BYTES) {
                bytes += next.bytes();
                part.push(next);
            }
            let stream = part.last().map(|append| append.stream.clone());
            outcomes.extend(self.append_whole(part).await);
            if let Some(AppendOutcome::Committed(stored)) = outcomes.last()
                && !stored.replayed
            {
                last = stream.map(|stream| (stream, stored.version));
            }
        }
        outcomes
    }
}
