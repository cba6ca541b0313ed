//! A standby: it follows nothing, keeps nothing, and answers from what the owner has saved.
//!
//! It loads document, checkpoint and parked keys from one snapshot, so an answer names exactly the
//! position it reflects. While nobody waits it asks the store nothing.

use std::cmp::max;
use std::sync::Arc;

use actix::Context;
use tokio::time::sleep;

use super::actor::ReadModelActor;
use super::{ReadModel, resume};
use crate::error::StoreError;
use crate::partition::Reached;
use crate::store::contract::Checkpoint;

impl<M: ReadModel> ReadModelActor<M> {
    /// The owner has saved so far.
    pub(super) fn saw(&mut self, checkpoint: Option<Checkpoint>, ctx: &mut Context<Self>) {
        // A look and a try for the lease may overtake one another.
        let seen = Reached::of(checkpoint);
        if seen.position >= self.term.reached.position {
            self.term.reached = seen;
            self.term.checkpoints.is_saved(seen);
        }
        self.progress.committed(max(seen.position, self.term.reached.position));
        self.answer_due(ctx);
    }

    /// Looks how far the owner has saved, and again as long as somebody waits for more.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if self.term.is_looking || !self.is_following() {
            return;
        }
        self.term.is_looking = true;
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let looking = async move { resume::glimpse(&*store, &partition).await };
        self.beside(ctx, looking, |looked, act, ctx| {
            match looked {
                Ok(checkpoint) => act.saw(checkpoint, ctx),
                Err(fault @ StoreError::Checkpoint { .. }) => {
                    return act.halt(act.term.reached.position, fault.to_string(), ctx);
                }
                Err(_) => {} // who waits goes on waiting; the next looks for a duty say what is wrong
            }
            let rest = sleep(act.settings.look_every);
            act.beside(ctx, rest, |(), act, ctx| {
                act.term.is_looking = false;
                if !act.reads.nobody_waits() {
                    act.look(ctx);
                }
            });
        });
    }
}
