//! Lists of documents, on an owner and on a standby alike: read from the store, once it is far enough.
//!
//! An owner is asked to save at once, so that the store holds what its memory answers. Checkpoints
//! and documents of a page come from one snapshot, so the page names exactly the positions it
//! reflects; and none is older than what a read in this process has answered before.

use std::cmp::max;
use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler, Message};
use tokio::time::{Instant, sleep};

use super::actor::ReadModelActor;
use super::encoding::parse;
use super::handle::{Inner, Partition, ReadModelHandle};
use crate::document::{DocumentRange, Store, StoredPage};
use crate::error::ReadError;
use crate::read_model::{DocumentPage, ReadModel};
use crate::stream::GlobalPosition;

/// Pause before the first further look at the store; it doubles up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// Asks an owner to save what is unsaved.
pub(super) struct SaveNow;

impl Message for SaveNow {
    type Result = ();
}

impl<M: ReadModel> Handler<SaveNow> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, _: SaveNow, ctx: &mut Context<Self>) {
        self.save(ctx);
    }
}

impl<M: ReadModel> ReadModelHandle<M> {
    /// A page of documents, each partition at or after a position; waits at most `within` for that.
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait ends first.
    pub(crate) async fn list(
        &self,
        store: &dyn Store,
        range: &DocumentRange,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<DocumentPage<M>, ReadError> {
        let Inner { partitions, reads, .. } = self.inner();
        let permit = Arc::clone(reads).try_acquire_owned();
        let _permit = permit.map_err(|_| ReadError::Overloaded(M::NAME))?;
        let model = super::versioned_name::<M>();
        let wanted: Vec<_> = partitions.iter().map(|p| max(after, p.answers_from())).collect();
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let page = store.list_documents(&model, range).await?;
            let reached = reached(&page, partitions.len());
            let behind = wanted.iter().zip(&reached).position(|(wanted, at)| at < wanted);
            let Some(behind) = behind else { return documents(page, &reached) };
            for (partition, (wanted, at)) in partitions.iter().zip(wanted.iter().zip(&reached)) {
                if at < wanted {
                    partition.save_now()?;
                }
            }
            let waited = began.elapsed();
            if waited >= within {
                let (wanted, reached) = (wanted[behind], reached[behind]);
                return Err(ReadError::NotYet { model: M::NAME, wanted, reached, waited });
            }
            sleep(pause.min(within - waited)).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

impl<M: ReadModel> Partition<M> {
    /// The least position that a list may show: what reads have answered, in memory or stored.
    fn answers_from(&self) -> GlobalPosition {
        max(self.shared.answers_from(), self.shared.reached())
    }

    /// # Errors
    /// The partition halted or stopped, so waiting is no use.
    fn save_now(&self) -> Result<(), ReadError> {
        if !self.addr.connected() || !self.shared.is_running() {
            return Err(self.ended());
        }
        self.addr.do_send(SaveNow);
        Ok(())
    }
}

/// Position of each partition, by number.
fn reached(page: &StoredPage, partitions: usize) -> Vec<GlobalPosition> {
    let mut reached = vec![GlobalPosition::ZERO; partitions];
    for (number, position) in &page.checkpoints {
        if let Some(reached) = reached.get_mut(*number as usize) {
            *reached = *position;
        }
    }
    reached
}

fn documents<M: ReadModel>(
    page: StoredPage,
    reached: &[GlobalPosition],
) -> Result<DocumentPage<M>, ReadError> {
    let StoredPage { documents, parked, next, .. } = page;
    let parsed = documents.into_iter().map(|(key, body)| {
        let document = parse::<M>(&key, &body)?;
        Ok((document.into_inner(), key))
    });
    let parsed: Result<Vec<(M, String)>, ReadError> = parsed.collect();
    Ok(DocumentPage {
        documents: parsed?.into_iter().map(|(document, key)| (key, document)).collect(),
        parked,
        next,
        position: reached.iter().copied().min().unwrap_or_default(),
        up_to: reached.iter().copied().max().unwrap_or_default(),
    })
}
