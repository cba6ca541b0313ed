//! What deciding needs besides the state: the store, the codec, the clock, the limits.

use std::sync::Arc;

use crate::aggregate::Aggregate;
use crate::clock::Clock;
use crate::codec::EventCodec;
use crate::document::Store;
use crate::settings::Settings;
use crate::snapshot::Snapshots;

/// What all instances of one aggregate type share.
pub(crate) struct Deciding<A: Aggregate> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) codec: EventCodec<A::Event>,
    pub(crate) snapshots: Option<Snapshots<A>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
}

impl<A: Aggregate> Deciding<A> {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let codec = EventCodec::new(A::upcasters());
        Self { store, codec, snapshots: A::snapshots(), clock, settings }
    }
}
