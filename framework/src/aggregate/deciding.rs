//! Shared parts of all instances of one aggregate type: store, codec, clock and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Aggregate;
use crate::clock::Clock;
use crate::event::codec::EventCodec;
use crate::settings::Settings;
use crate::store::contract::{Snapshots, Store};

/// Shared state of all instances of one aggregate type.
pub(crate) struct Deciding<A: Aggregate> {
    pub(crate) store: Arc<dyn Store>,
    /// [`StoreInfo::is_sole_writer`](crate::store::contract::StoreInfo::is_sole_writer), which never
    /// changes.
    is_sole_writer: bool,
    pub(crate) codec: EventCodec<A::Event>,
    pub(crate) snapshots: Option<Snapshots<A>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    /// True once `Application::store` was called. The user may have appended to the store directly
    /// since then.
    pub(crate) is_handed_out: Arc<AtomicBool>,
}

impl<A: Aggregate> Deciding<A> {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        is_handed_out: Arc<AtomicBool>,
    ) -> Self {
        let codec = EventCodec::new(A::upcasters());
        let is_sole_writer = store.info().is_sole_writer;
        let snapshots = A::snapshots();
        Self { store, is_sole_writer, codec, snapshots, clock, settings, is_handed_out }
    }

    /// Returns true if every append to the log passes through this application, so that the state
    /// in memory is the latest. Then a decision that stored nothing need not be confirmed against
    /// the log. See `docs/decisions.md`, "When may a decision that stored nothing be answered
    /// without asking the log?"
    pub(crate) fn is_alone(&self) -> bool {
        // The cheapest question first: a store may look at its file to answer `info`.
        if !self.is_sole_writer || self.is_handed_out.load(Ordering::SeqCst) {
            return false;
        }
        self.store.info().is_only_handle
    }
}
