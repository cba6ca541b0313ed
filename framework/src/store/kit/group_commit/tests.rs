//! The committer against a writer that follows a script.
//!
//! What is proved: every caller gets the answer to its own appends, also when a commit's outcome
//! was unknown and the batch had to be sent again, and also for callers that have gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::{Batch, Committer, WriteFailure, Writer, Written};
use crate::command::Committed;
use crate::error::StoreError;
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, StreamId, StreamVersion};
use crate::store::contract::{Append, AppendOutcome, NotCommitted};

/// Script for the next batch; without a line left the writer commits.
#[derive(Debug, Clone, Copy)]
enum Line {
    Commit,
    Unknown,
    NotCommitted,
    ReopenFails,
}

/// Batch that the writer was given: the ids of its events, and true if it was sent again.
type Asked = (Vec<u128>, bool);

/// Commits everything at position = event id, so that an answer tells whose it is.
struct Scripted {
    script: VecDeque<Line>,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: mpsc::UnboundedSender<()>,
    gate: Option<mpsc::UnboundedReceiver<()>>,
}

#[async_trait(?Send)]
impl Writer for Scripted {
    type Side = &'static str;

    async fn write(
        &mut self,
        batch: &Batch<&'static str>,
        again: bool,
    ) -> Result<Written, WriteFailure> {
        if let Some(gate) = &mut self.gate {
            gate.recv().await;
        }
        let events = batch.appends.iter().flat_map(|append| &append.events);
        let ids = events.map(|event| event.event_id.as_u128()).collect();
        self.asked.lock().unwrap().push((ids, again));
        match self.script.pop_front() {
            Some(Line::Unknown) => Err(WriteFailure::Unknown("told to".into())),
            Some(Line::NotCommitted) => Err(WriteFailure::NotCommitted("told to".into())),
            _ => Ok(written(batch)),
        }
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        match self.script.front() {
            Some(Line::ReopenFails) => {
                self.script.pop_front();
                Err(StoreError::Unavailable("told to".into()))
            }
            _ => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        let _ = self.closed.send(());
        Ok(())
    }
}

fn written(batch: &Batch<&'static str>) -> Written {
    let outcome = |append: &Append| match append.events.last() {
        None => AppendOutcome::NotCommitted(NotCommitted::KeyReused),
        Some(last) => {
            let position = GlobalPosition(last.event_id.as_u128() as u64);
            AppendOutcome::Committed(Committed::new(StreamVersion(1), position, false))
        }
    };
    let side = |side: &&str| match *side {
        "bad" => Err(StoreError::Unavailable("told to".into())),
        _ => Ok(true),
    };
    let appends: Vec<_> = batch.appends.iter().map(outcome).collect();
    let side_writes = batch.side_writes.iter().map(side).collect();
    let events = batch.appends.iter().flat_map(|append| &append.events);
    let head = events.map(|event| event.event_id.as_u128() as u64).max().unwrap_or_default();
    Written { appends, side_writes, head: GlobalPosition(head) }
}

/// A committer, what its writer was asked, and what tells that it closed.
struct Rig {
    committer: Committer<&'static str>,
    head: watch::Receiver<GlobalPosition>,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: mpsc::UnboundedReceiver<()>,
}

impl Rig {
    fn start(script: &[Line], gate: Option<mpsc::UnboundedReceiver<()>>) -> Self {
        let (script, asked) = (script.to_vec().into(), Arc::default());
        let (close, closed) = mpsc::unbounded_channel();
        let writer = Scripted { script, asked: Arc::clone(&asked), closed: close, gate };
        let (raised, head) = watch::channel(GlobalPosition::ZERO);
        let committer =
            Committer::start(Arc::new(raised), super::QUEUE_BYTES, move || writer).unwrap();
        Self { committer, head, asked, closed }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn append(ids: std::ops::RangeInclusive<u64>) -> Append {
    let event = |id: u64| NewEvent {
        event_id: Uuid::from_u128(id.into()),
        event_type: "Booked".into(),
        schema_version: 1,
        payload: "1".into(),
        metadata: "{}".into(),
    };
    let stream = StreamId::new("ledger", "1").unwrap();
    let (expected, events) = (ExpectedVersion::Any, ids.map(event).collect());
    Append { stream, expected, events, command: None, claims: vec![], chained: false }
}

fn positions(outcomes: &[AppendOutcome]) -> Vec<Option<u64>> {
    let position = |outcome: &AppendOutcome| match outcome {
        AppendOutcome::Committed(committed) => Some(committed.position.0),
        _ => None,
    };
    outcomes.iter().map(position).collect()
}

#[tokio::test]
async fn an_unknown_commit_is_sent_again_until_it_is_answered() {
    let script = [Line::Unknown, Line::ReopenFails, Line::NotCommitted, Line::Unknown];
    let rig = Rig::start(&script, None);
    let outcomes = rig.committer.append(vec![append(1..=2), append(3..=3)]).await;
    assert_eq!(positions(&outcomes), [Some(2), Some(3)]);
    let same = |again| (vec![1, 2, 3], again);
    assert_eq!(rig.asked(), [same(false), same(true), same(true), same(true)]);
    rig.committer.append(vec![append(4..=4)]).await;
    assert_eq!(rig.asked()[4], (vec![4], false), "doubt clung to the next batch");
}

#[tokio::test]
async fn a_batch_that_was_not_committed_is_answered_so_to_all_and_not_sent_again() {
    let rig = Rig::start(&[Line::NotCommitted], None);
    let outcomes = rig.committer.append(vec![append(1..=1), append(2..=2)]).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason)) = outcome else {
            panic!("not refused: {outcome:?}")
        };
        assert_eq!(reason, "told to");
    }
    assert_eq!(rig.asked().len(), 1);
    assert_eq!(positions(&rig.committer.append(vec![append(3..=3)]).await), [Some(3)]);
}

#[tokio::test]
async fn ten_thousand_callers_each_get_their_own_answer() {
    let script = [
        Line::Commit,
        Line::NotCommitted,
        Line::Unknown,
        Line::NotCommitted,
        Line::Commit,
        Line::NotCommitted,
        Line::Unknown,
    ];
    let rig = Rig::start(&script, None);
    let mut seed = 7_u64;
    let (mut calls, mut next) = (tokio::task::JoinSet::new(), 1);
    for call in 0..10_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = seed >> 33;
        let committer = rig.committer.clone();
        let mut appends = Vec::new();
        for index in 0..random % 4 {
            let count = (random >> (2 + index * 2)) % 4;
            let ids = next..=(next + count).saturating_sub(1);
            appends.push(append(ids));
            next += count;
        }
        calls.spawn(async move {
            if call % 5 == 0 {
                let state = if call % 10 == 0 { "bad" } else { "good" };
                let told = committer.write(state, 1).await;
                let refused = matches!(&told, Err(StoreError::Unavailable(_)));
                return (told.is_ok() == (state == "good") || refused, false);
            }
            let expected: Vec<_> = appends
                .iter()
                .map(|append| append.events.last().map(|event| event.event_id.as_u128() as u64))
                .collect();
            let outcomes = committer.append(appends).await;
            let refused = |o: &AppendOutcome| {
                matches!(o, AppendOutcome::NotCommitted(NotCommitted::Unavailable(_)))
            };
            let all_refused = outcomes.len() == expected.len() && outcomes.iter().all(refused);
            let own = positions(&outcomes) == expected;
            (own || all_refused, own && !expected.is_empty())
        });
    }
    let (mut right, mut committed) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        let (own, stored) = answer.unwrap();
        right += usize::from(own);
        committed += usize::from(stored);
    }
    assert_eq!(right, 10_000);
    // Two batches of at most a thousand appends were refused; of the 6,000 callers with appends
    // the others got what only they can have got.
    assert!(committed > 3000, "{committed} callers were answered with a position");
}

#[tokio::test]
async fn a_commit_goes_on_when_its_caller_has_gone() {
    let (open, gate) = mpsc::unbounded_channel();
    let mut rig = Rig::start(&[], Some(gate));
    let committer = rig.committer.clone();
    let caller = tokio::spawn(async move { committer.append(vec![append(1..=1)]).await });
    // It has submitted once it has run: the queue takes it without waiting.
    tokio::task::yield_now().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    open.send(()).unwrap();
    open.send(()).unwrap();
    let mut head = rig.head.clone();
    head.wait_for(|head| head.0 == 1).await.unwrap();
    assert_eq!(rig.asked(), [(vec![1], false)]);
    drop(rig.committer);
    assert!(rig.closed.recv().await.is_some(), "the writer was not closed in order");
}

#[tokio::test]
async fn what_queues_during_a_commit_goes_into_one_batch() {
    let (open, gate) = mpsc::unbounded_channel();
    let rig = Rig::start(&[], Some(gate));
    let calls: Vec<_> = (1..=100)
        .map(|id| {
            let committer = rig.committer.clone();
            tokio::spawn(async move { committer.append(vec![append(id..=id)]).await })
        })
        .collect();
    let bad = rig.committer.clone();
    let side = tokio::spawn(async move { bad.write("bad", 1).await });
    // All have submitted once they have run: the queue takes them without waiting.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    (0..200).for_each(|_| open.send(()).unwrap());
    for (id, call) in (1..=100).zip(calls) {
        assert_eq!(positions(&call.await.unwrap()), [Some(id)]);
    }
    assert!(side.await.unwrap().is_err(), "a failed side write was answered as kept");
    let asked = rig.asked();
    assert!(asked.len() <= 3, "{} batches", asked.len());
    assert!(asked.iter().flat_map(|(ids, _)| ids).copied().eq(1..=100), "order was lost");
}

#[tokio::test]
async fn a_batch_is_bounded_and_nothing_is_left_behind() {
    let (open, gate) = mpsc::unbounded_channel();
    let rig = Rig::start(&[], Some(gate));
    let calls: Vec<_> = (0..30_u64)
        .map(|call| {
            let committer = rig.committer.clone();
            let ids = call * 100 + 1..=(call + 1) * 100;
            tokio::spawn(async move { committer.append(vec![append(ids)]).await })
        })
        .collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    (0..200).for_each(|_| open.send(()).unwrap());
    for (call, outcome) in (1..=30).zip(calls) {
        assert_eq!(positions(&outcome.await.unwrap()), [Some(call * 100)]);
    }
    let sizes: Vec<_> = rig.asked().iter().map(|(ids, _)| ids.len()).collect();
    assert!(sizes.iter().all(|size| *size <= super::MAX_BATCH_EVENTS), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 3000);
}

/// An append of one event with so many bytes.
fn large(id: u64, bytes: usize) -> Append {
    let mut append = append(id..=id);
    append.events[0].payload = "1".repeat(bytes).into();
    append
}

#[tokio::test]
async fn a_batch_is_bounded_by_bytes_and_what_is_larger_is_written_alone() {
    let (open, gate) = mpsc::unbounded_channel();
    let rig = Rig::start(&[], Some(gate));
    let sizes = [3, 3, 3, 20, 3, 3].map(|mib: usize| mib << 20);
    let calls: Vec<_> = (1..)
        .zip(sizes)
        .map(|(id, bytes)| {
            let committer = rig.committer.clone();
            tokio::spawn(async move { committer.append(vec![large(id, bytes)]).await })
        })
        .collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    (0..20).for_each(|_| open.send(()).unwrap());
    for (id, call) in (1..=6).zip(calls) {
        assert_eq!(positions(&call.await.unwrap()), [Some(id)]);
    }
    let batches: Vec<_> = rig.asked().into_iter().map(|(ids, _)| ids).collect();
    assert!(batches.contains(&vec![4]), "{batches:?}");
    let bytes = |ids: &Vec<u128>| ids.iter().map(|id| sizes[*id as usize - 1]).sum::<usize>();
    assert!(batches.iter().all(|ids| ids.len() == 1 || bytes(ids) <= super::MAX_BATCH_BYTES));
    assert!(batches.concat().into_iter().eq(1..=6), "order was lost: {batches:?}");
}

/// Bytes count until their caller has its reply, so a second caller waits outside the queue.
#[tokio::test]
async fn what_waits_for_the_writer_is_bounded_by_bytes() {
    let (open, gate) = mpsc::unbounded_channel();
    let rig = Rig::start(&[], Some(gate));
    let first = rig.committer.clone();
    let first = tokio::spawn(async move { first.append(vec![large(1, 60 << 20)]).await });
    while rig.committer.budget.try_reserve(super::QUEUE_BYTES).is_some() {
        tokio::task::yield_now().await;
    }
    let mut second = Box::pin(rig.committer.append(vec![large(2, 10 << 20)]));
    for _ in 0..10 {
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.committer.queue.capacity(), super::QUEUE, "the second one is not in the queue");
    (0..2).for_each(|_| open.send(()).unwrap());
    assert_eq!(positions(&second.await), [Some(2)]);
    assert_eq!(positions(&first.await.unwrap()), [Some(1)]);
}

#[tokio::test]
async fn what_queues_behind_a_close_is_answered_as_not_stored() {
    let (open, gate) = mpsc::unbounded_channel();
    let rig = Rig::start(&[], Some(gate));
    let of = || rig.committer.clone();
    let (stored, closing, late, side, again) = (of(), of(), of(), of(), of());
    let stored = tokio::spawn(async move { stored.append(vec![append(1..=1)]).await });
    let closing = tokio::spawn(async move { closing.close().await });
    let late = tokio::spawn(async move { late.append(vec![append(2..=2)]).await });
    let side = tokio::spawn(async move { side.write("good", 1).await });
    let again = tokio::spawn(async move { again.close().await });
    // All have submitted once they have run: the queue takes them without waiting.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    // The writer ends after the request to close, perhaps before it was let through nine times.
    (0..9).for_each(|_| _ = open.send(()));
    assert_eq!(positions(&stored.await.unwrap()), [Some(1)]);
    let late = late.await.unwrap();
    let is_refused =
        matches!(late[..], [AppendOutcome::NotCommitted(NotCommitted::Unavailable(_))]);
    assert!(is_refused, "{late:?}");
    let side = side.await.unwrap();
    assert!(matches!(side, Err(StoreError::Unavailable(_))), "{side:?}");
    assert_eq!((closing.await.unwrap(), again.await.unwrap()), (Ok(()), Ok(())));
    assert_eq!(rig.asked(), [(vec![1], false)]);
}
