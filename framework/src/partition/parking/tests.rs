//! Parking by itself: what stands, what waits, what is asked, and by chance against a plain list.

mod moved;
mod set_back;

use std::collections::BTreeSet;

use super::*;
use crate::event::{StreamId, StreamVersion};

const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn small() -> ParkingSettings {
    ParkingSettings { most_keys: 3, most_listed: 4, chunk: 3, ..<_>::default() }
}

fn event(key: &str, position: u64) -> RecordedEvent {
    RecordedEvent {
        position: GlobalPosition(position),
        stream: StreamId::new("book", key).unwrap(),
        version: StreamVersion(position),
        event_id: uuid::Uuid::nil(),
        event_type: "Noted".into(),
        schema_version: 1,
        payload: "{}".into(),
        metadata: "{}".into(),
        recorded_at: AT,
    }
}

fn park(parking: &mut Parking, key: &str, position: u64, now: Instant) -> Result<(), Full> {
    parking.park(key.to_owned(), &event(key, position), "bad".to_owned(), now, AT)
}

fn queue(parking: &mut Parking, key: &str, positions: &[u64]) {
    positions.iter().for_each(|position| parking.queue(key, GlobalPosition(*position)));
}

fn numbers(drain: &Drain) -> Vec<u64> {
    drain.positions.iter().map(|position| position.0).collect()
}

/// Tries what is due; `is_bad` says which events fail. Answers what was applied.
fn drain(parking: &mut Parking, now: Instant, is_bad: impl Fn(u64) -> bool) -> Option<Vec<u64>> {
    let drain = parking.begin(now)?;
    let (positions, may_apply) = (numbers(&drain), parking.may_apply(&drain));
    let good = positions[..may_apply].iter().take_while(|position| !is_bad(**position)).count();
    let stopped = positions.get(good).map(|position| Stopped {
        event: format!("Noted {position}"),
        reason: is_bad(*position).then(|| "still bad".to_owned()).filter(|_| good < may_apply),
    });
    parking.end(drain, good, stopped, now, AT);
    Some(positions[..good].to_vec())
}

#[test]
fn a_key_is_tried_a_few_times_ever_later_and_then_only_when_somebody_asks() {
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let mut parking = Parking::new(0, small());
    park(&mut parking, "a", 7, start).unwrap();
    let mut tries = Vec::new();
    for n in 0..100 {
        if drain(&mut parking, start + second * n, |_| true).is_some() {
            tries.push(n);
        }
    }
    assert_eq!(tries, [1, 3, 7, 15, 31]);
    let now = start + second * 100;
    parking.hand_out();
    parking.saved();
    let asked = parking.saved_so_far();
    parking.request(("a", GlobalPosition(8)), ParkedRequest::Retry, asked, now);
    assert!(parking.begin(now).is_none(), "another event was meant");
    parking.request(("a", GlobalPosition(7)), ParkedRequest::Retry, asked, now);
    assert_eq!(drain(&mut parking, now, |_| true), Some(vec![]));
    assert!(parking.begin(now + second * 1000).is_none());
    let [ParkedChange::Park(last)] = &parking.hand_out()[..] else { panic!("no change") };
    assert_eq!((last.position.0, last.attempts, &*last.reason), (7, 7, "still bad"));
    // Read before that was saved, so it is the request from before.
    parking.request(("a", GlobalPosition(7)), ParkedRequest::Retry, asked, now);
    assert!(parking.begin(now).is_none());
    assert_eq!(parking.standing("a"), Some((GlobalPosition(7), "still bad")));
}

#[test]
fn a_skip_leaves_out_one_event_and_goes_on_with_those_behind_it() {
    let now = Instant::now();
    let mut parking = Parking::new(0, small());
    park(&mut parking, "a", 1, now).unwrap();
    queue(&mut parking, "a", &[2, 4]);
    parking.hand_out();
    parking.saved();
    let skip = ParkedRequest::Skip { reason: "by hand".into() };
    parking.request(("a", GlobalPosition(1)), skip, parking.saved_so_far(), now);
    assert_eq!(drain(&mut parking, now, |position| position == 4), Some(vec![2]));
    let changes = parking.hand_out();
    let [ParkedChange::Skip(skipped), ParkedChange::Park(next)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!((skipped.position.0, &*skipped.reason), (1, "by hand"));
    assert_eq!(skipped.event, "Noted 1 of book-a: bad");
    assert_eq!((next.position.0, next.attempts), (4, 1));
    let later = now + Duration::from_secs(1);
    assert_eq!(drain(&mut parking, later, |_| false), Some(vec![4]));
    assert_eq!(parking.hand_out(), [ParkedChange::Release { key: "a".into() }]);
    assert!(parking.is_empty());
}

#[test]
fn what_arrives_while_a_key_is_drained_is_drained_too() {
    let now = Instant::now();
    let mut parking = Parking::new(0, small());
    park(&mut parking, "a", 1, now).unwrap();
    let due = now + Duration::from_secs(1);
    let first = parking.begin(due).unwrap();
    assert!(parking.begin(due).is_none(), "one at a time");
    queue(&mut parking, "a", &[2]);
    assert_eq!((numbers(&first), parking.may_apply(&first)), (vec![1], 0));
    let stopped = Stopped { event: "Noted 1".into(), reason: None };
    parking.end(first, 0, Some(stopped), due, AT);
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![1, 2]));
    assert!(parking.is_empty());
}

#[test]
fn beyond_the_limit_of_keys_none_is_parked_and_the_limit_is_named() {
    let now = Instant::now();
    let mut parking = Parking::new(0, small());
    for key in ["a", "b", "c"] {
        park(&mut parking, key, 1, now).unwrap();
    }
    let full = park(&mut parking, "d", 2, now).unwrap_err().to_string();
    assert!(full.starts_with("3 keys are parked, which is the limit: fix"), "{full}");
    assert!(!parking.is_parked("d") && parking.len() == 3);
}

/// However many events come for a parked key, a few of them are listed and nothing halts.
#[test]
fn a_hot_parked_key_lists_a_few_events_and_reads_the_others_from_the_log() {
    let now = Instant::now();
    let mut parking = Parking::new(0, small());
    park(&mut parking, "a", 1, now).unwrap();
    queue(&mut parking, "a", &(2..100_000).collect::<Vec<_>>());
    let changes = parking.hand_out();
    assert_eq!(changes.len(), 6, "{changes:?}");
    let unlisted = |change: &ParkedChange| match change {
        ParkedChange::Unlisted { key, from, .. } if key == "a" => from.map(|from| from.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(unlisted(&changes[5]), Some(6));
    let due = now + Duration::from_secs(1);
    assert!(parking.begin_listing(due).is_none(), "there are listed ones to apply first");
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![1, 2]));
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![3, 4]));
    assert!(parking.begin(due).is_none(), "the last one is not applied before the next is listed");
    let listing = parking.begin_listing(due).unwrap();
    assert_eq!(listing.from.0, 6);
    // The page ends before what the owner has passed: there may be more behind it.
    parking.end_listing(listing, &[GlobalPosition(6)], GlobalPosition(7), GlobalPosition(99), due);
    assert_eq!(parking.hand_out().last().map(unlisted), Some(Some(8)));
    queue(&mut parking, "a", &[100]);
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![5]));
    let listing = parking.begin_listing(due).unwrap();
    // The store is ahead of the owner, who has passed 100 and will see 101.
    let found = [9, 100, 101].map(GlobalPosition);
    parking.end_listing(listing, &found, GlobalPosition(101), GlobalPosition(100), due);
    assert_eq!(parking.hand_out().last().map(unlisted), Some(None));
    queue(&mut parking, "a", &[101]);
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![6, 9]));
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![100, 101]));
    assert!(parking.is_empty());
}

/// Else a restart with fixed code would halt at the limit again before it has tried.
#[test]
fn with_little_room_left_keys_from_before_are_tried_first() {
    let now = Instant::now();
    let mut store = Store::default();
    let mut parking = Parking::new(0, small());
    park(&mut parking, "a", 1, now).unwrap();
    park(&mut parking, "b", 2, now).unwrap();
    assert!(!parking.is_crowded(), "these were tried just now");
    store.save(&mut parking, &[]);
    let mut parking = Parking::resume(0, small(), store.parked, now);
    assert!(parking.is_crowded());
    drain(&mut parking, now, |_| true);
    drain(&mut parking, now, |_| true);
    assert!(!parking.is_crowded());
}

/// Parked keys as a store keeps them, and the events that were applied.
#[derive(Default, Clone)]
struct Store {
    parked: Vec<ParkedKey>,
    skipped: BTreeSet<u64>,
    applied: Vec<(String, u64)>,
}

impl Store {
    fn of(&mut self, key: &str) -> Option<&mut ParkedKey> {
        self.parked.iter_mut().find(|parked| parked.key == key)
    }

    fn save(&mut self, parking: &mut Parking, applied: &[(String, u64)]) {
        for change in parking.hand_out() {
            match change {
                ParkedChange::Park(mut new) => match self.of(&new.key) {
                    Some(old) => {
                        new.queue = std::mem::take(&mut old.queue);
                        new.unlisted_from = old.unlisted_from;
                        new.unlisted_sum = old.unlisted_sum;
                        new.queue.retain(|position| *position > new.position);
                        *old = new;
                    }
                    None => self.parked.push(new),
                },
                ParkedChange::Queue { key, position } => {
                    self.of(&key).expect("it queues behind nothing").queue.push(position);
                }
                ParkedChange::Unlisted { key, from, sum } => {
                    let parked = self.of(&key).expect("it is parked");
                    parked.queue.retain(|position| from.is_none_or(|from| *position < from));
                    parked.unlisted_from = from;
                    parked.unlisted_sum = sum;
                }
                ParkedChange::Skip(skipped) => assert!(self.skipped.insert(skipped.position.0)),
                ParkedChange::Release { key } => self.parked.retain(|parked| parked.key != key),
            }
        }
        parking.saved();
        self.applied = applied.to_vec();
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A partition that folds a log: what it has in memory, and what of that is saved.
struct Partition {
    settings: ParkingSettings,
    log: Vec<(String, u64)>,
    bad: BTreeSet<u64>,
    parking: Parking,
    applied: Vec<(String, u64)>,
    begun: Option<Drain>,
    listing: Option<Listing>,
    store: Store,
    /// Number of events that are saved.
    saved: usize,
    now: Instant,
}

impl Partition {
    fn new(chunk: usize, most_listed: usize) -> Self {
        let settings = ParkingSettings { chunk, most_listed, ..<_>::default() };
        Self {
            parking: Parking::new(0, settings.clone()),
            settings,
            log: Vec::new(),
            bad: BTreeSet::new(),
            applied: Vec::new(),
            begun: None,
            listing: None,
            store: Store::default(),
            saved: 0,
            now: Instant::now(),
        }
    }

    fn append(&mut self, key: &str, is_bad: bool) {
        let event = (key.to_owned(), self.log.len() as u64 + 1);
        self.bad.extend(is_bad.then_some(event.1));
        self.log.push(event.clone());
        self.fold(event);
    }

    fn fold(&mut self, (key, position): (String, u64)) {
        if self.parking.is_parked(&key) {
            queue(&mut self.parking, &key, &[position]);
        } else if self.bad.contains(&position) {
            park(&mut self.parking, &key, position, self.now).unwrap();
        } else {
            self.applied.push((key, position));
        }
    }

    fn begin(&mut self) {
        self.listing = self.listing.take().or_else(|| self.parking.begin_listing(self.now));
        self.begun = self.begun.take().or_else(|| self.parking.begin(self.now));
    }

    /// Lists from a page of the log that has so many events.
    fn list(&mut self, page: usize) {
        let Some(listing) = self.listing.take() else { return };
        let mut page = self.log.iter().skip(listing.from.0 as usize - 1).take(page);
        let found = page.clone().filter(|(key, _)| *key == listing.key);
        let found: Vec<_> = found.map(|(_, position)| GlobalPosition(*position)).collect();
        let scanned_to = page.next_back().map_or(listing.from.0 - 1, |(_, position)| *position);
        let reached = GlobalPosition(self.log.len() as u64);
        self.parking.end_listing(listing, &found, GlobalPosition(scanned_to), reached, self.now);
    }

    fn end(&mut self) {
        let Some(drain) = self.begun.take() else { return };
        let (positions, may) = (numbers(&drain), self.parking.may_apply(&drain));
        let good = positions[..may].iter().take_while(|p| !self.bad.contains(p)).count();
        self.applied.extend(positions[..good].iter().map(|p| (drain.key.clone(), *p)));
        let stopped = positions
            .get(good)
            .map(|_| Stopped { event: "Noted".into(), reason: (good < may).then(|| "bad".into()) });
        self.parking.end(drain, good, stopped, self.now, AT);
    }

    fn save(&mut self) {
        self.store.save(&mut self.parking, &self.applied);
        self.saved = self.log.len();
    }

    fn ask(&mut self, number: usize, request: ParkedRequest) {
        let Some(parked) = self.store.parked.get(number) else { return };
        let asked = (&*parked.key, parked.position);
        self.parking.request(asked, request, self.parking.saved_so_far(), self.now);
    }

    /// Loses all that was folded since the last save.
    fn die(&mut self) {
        let (settings, parked) = (self.settings.clone(), self.store.parked.clone());
        self.parking = Parking::resume(0, settings, parked, self.now);
        (self.applied, self.begun) = (self.store.applied.clone(), None);
        self.listing = None;
        let again = self.log[self.saved..].to_vec();
        again.into_iter().for_each(|event| self.fold(event));
    }
}

/// Events arrive, fail, are drained, asked for, skipped, saved; processes die. In the end each key's
/// events are applied once and in order, but for those that were skipped.
fn by_chance(seed: u64) {
    let mut chance = Chance(seed * 2 + 1);
    let (chunk, most_listed) = (1 + chance.below(5) as usize, 1 + chance.below(4) as usize);
    let mut partition = Partition::new(chunk, most_listed);
    for _ in 0..600 {
        partition.now += Duration::from_millis(chance.below(500));
        match chance.below(10) {
            0..=4 => {
                let key = ["a", "b", "c"][chance.below(3) as usize];
                partition.append(key, chance.below(8) == 0);
            }
            5 => partition.begin(),
            6 => {
                partition.end();
                partition.list(1 + chance.below(5) as usize);
            }
            7 => partition.save(),
            8 => {
                let request = match chance.below(3) {
                    0 => ParkedRequest::Skip { reason: "chance".into() },
                    _ => ParkedRequest::Retry,
                };
                partition.ask(chance.below(3) as usize, request);
            }
            _ if chance.below(4) == 0 => partition.die(),
            _ => _ = partition.bad.pop_first(),
        }
    }
    partition.bad.clear();
    partition.die();
    for _ in 0..2_000 {
        partition.begin();
        partition.end();
        partition.list(3);
    }
    partition.save();
    let Partition { log, parking, applied, store, .. } = partition;
    assert!(parking.is_empty() && store.parked.is_empty(), "seed {seed}");
    for name in ["a", "b", "c"] {
        let of = |all: &[(String, u64)]| -> Vec<u64> {
            all.iter().filter(|(key, _)| key == name).map(|(_, position)| *position).collect()
        };
        let mut expected = of(&log);
        expected.retain(|position| !store.skipped.contains(position));
        assert_eq!(of(&applied), expected, "seed {seed}, key {name}");
    }
}

#[test]
fn whatever_happens_each_key_keeps_its_order_and_loses_and_doubles_nothing() {
    (1..2_000).for_each(by_chance);
}
