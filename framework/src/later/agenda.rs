//! What is open, and what may be done next: pure, without a clock of its own.
//!
//! Each piece of work stands in a lane, in the order of the log. Only the first of a lane is done, so
//! that what was asked of one aggregate is done in order; lanes do not wait for one another.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::stream::GlobalPosition;

/// The first pause before something is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// All that one reaction has yet to do, by the id of the command it is about.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    open: HashMap<String, Item>,
    lanes: HashMap<String, VecDeque<String>>,
    /// Lanes whose first is to be done, by when; the number keeps those of one instant in order.
    due: BTreeMap<(Instant, u64), String>,
    numbered: u64,
    positions: BTreeSet<GlobalPosition>,
}

#[derive(Debug)]
struct Item {
    lane: String,
    position: GlobalPosition,
    tried: u32,
}

impl Agenda {
    /// There is something to do, of which the log tells at `position`. Told twice it is one.
    pub(super) fn open(&mut self, id: &str, lane: &str, position: GlobalPosition, now: Instant) {
        if self.open.contains_key(id) {
            return;
        }
        let item = Item { lane: lane.to_owned(), position, tried: 0 };
        self.open.insert(id.to_owned(), item);
        self.positions.insert(position);
        let queue = self.lanes.entry(lane.to_owned()).or_default();
        queue.push_back(id.to_owned());
        if queue.len() == 1 {
            self.schedule(lane.to_owned(), now);
        }
    }

    /// It is done, by whomever.
    pub(super) fn close(&mut self, id: &str, now: Instant) {
        let Some(Item { lane, position, .. }) = self.open.remove(id) else { return };
        self.positions.remove(&position);
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        let was_first = queue.front().is_some_and(|first| first == id);
        queue.retain(|other| other != id);
        if queue.is_empty() {
            self.lanes.remove(&lane);
        }
        if was_first {
            self.due.retain(|_, due| *due != lane);
            if self.lanes.contains_key(&lane) {
                self.schedule(lane, now);
            }
        }
    }

    /// What is to be done now; it is not answered again before [`Agenda::again`].
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        let first = self.due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let lane = first.remove();
        self.lanes.get(&lane)?.front().cloned()
    }

    /// When there will be something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    /// It is not done yet: to be tried again after `pause`, or after one that doubles each time.
    pub(super) fn again(&mut self, id: &str, pause: Option<Duration>, now: Instant) {
        let Some(item) = self.open.get_mut(id) else { return };
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(item.tried.min(16));
        item.tried += 1;
        let lane = item.lane.clone();
        self.schedule(lane, now + pause.unwrap_or(doubled.min(LONGEST_PAUSE)));
    }

    fn schedule(&mut self, lane: String, at: Instant) {
        self.numbered += 1;
        self.due.insert((at, self.numbered), lane);
    }

    /// Where the log tells of the oldest that is open.
    pub(super) fn oldest(&self) -> Option<GlobalPosition> {
        self.positions.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    /// What is due, in order, until nothing more is.
    fn all_due(agenda: &mut Agenda, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| agenda.next(now)).collect()
    }

    fn agenda(now: Instant, items: &[(&str, &str)]) -> Agenda {
        let mut agenda = Agenda::default();
        for (position, (id, lane)) in (1..).zip(items) {
            agenda.open(id, lane, GlobalPosition(position), now);
        }
        agenda
    }

    #[test]
    fn only_the_first_of_a_lane_is_due_and_lanes_do_not_wait_for_one_another() {
        let now = Instant::now();
        let mut agenda = agenda(now, &[("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")]);
        assert_eq!(all_due(&mut agenda, now), ["a1", "b1"]);
        agenda.close("a1", now);
        assert_eq!(all_due(&mut agenda, now), ["a2"]);
        agenda.close("b1", now);
        agenda.close("a2", now);
        assert_eq!(all_due(&mut agenda, now), ["a3"]);
        agenda.close("a3", now);
        assert_eq!((agenda.next_due(), agenda.oldest()), (None, None));
        assert!(agenda.lanes.is_empty() && agenda.open.is_empty());
    }

    #[test]
    fn what_is_tried_again_keeps_its_place_and_waits_longer_each_time() {
        let now = Instant::now();
        let mut agenda = agenda(now, &[("a1", "a"), ("a2", "a")]);
        let mut waited = Vec::new();
        for _ in 0..9 {
            assert_eq!(agenda.next(at(now, 9_999)).as_deref(), Some("a1"));
            agenda.again("a1", None, now);
            assert_eq!(agenda.next(now), None);
            waited.push((agenda.next_due().unwrap() - now).as_millis());
        }
        assert_eq!(waited, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        agenda.next(at(now, 5_000));
        agenda.again("a1", Some(Duration::from_secs(60)), now);
        assert_eq!(agenda.next_due(), Some(at(now, 60_000)));
    }

    #[test]
    fn what_others_have_done_is_not_done_again() {
        let now = Instant::now();
        let mut agenda = agenda(now, &[("a1", "a"), ("a2", "a"), ("a3", "a")]);
        agenda.close("a2", now);
        agenda.close("a1", now);
        agenda.close("unknown", now);
        assert_eq!(all_due(&mut agenda, now), ["a3"]);
    }

    #[test]
    fn the_oldest_that_is_open_holds_the_place() {
        let now = Instant::now();
        let mut agenda = agenda(now, &[("a1", "a"), ("b1", "b"), ("c1", "c")]);
        agenda.open("b1", "b", GlobalPosition(9), now);
        agenda.close("b1", now);
        assert_eq!(agenda.oldest(), Some(GlobalPosition(1)));
        agenda.close("a1", now);
        assert_eq!(agenda.oldest(), Some(GlobalPosition(3)));
    }
}
