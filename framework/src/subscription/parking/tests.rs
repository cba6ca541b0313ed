//! Parking by itself: what stands, what waits, what is asked, and by chance against a plain list.

use std::collections::BTreeSet;

use super::*;
use crate::stream::{StreamId, StreamVersion};

const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn small() -> ParkingSettings {
    ParkingSettings {
        most_keys: 3,
        most_queued: 4,
        most_queued_in_all: 6,
        chunk: 3,
        ..<_>::default()
    }
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

fn queue(parking: &mut Parking, key: &str, positions: &[u64]) -> Result<(), Full> {
    positions.iter().try_for_each(|position| parking.queue(key, GlobalPosition(*position)))
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
    queue(&mut parking, "a", &[2, 4]).unwrap();
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
    queue(&mut parking, "a", &[2]).unwrap();
    assert_eq!((numbers(&first), parking.may_apply(&first)), (vec![1], 0));
    let stopped = Stopped { event: "Noted 1".into(), reason: None };
    parking.end(first, 0, Some(stopped), due, AT);
    assert_eq!(drain(&mut parking, due, |_| false), Some(vec![1, 2]));
    assert!(parking.is_empty());
}

#[test]
fn beyond_a_limit_nothing_is_taken_in_and_the_limit_is_named() {
    let now = Instant::now();
    let mut parking = Parking::new(0, small());
    for key in ["a", "b", "c"] {
        park(&mut parking, key, 1, now).unwrap();
    }
    let full = park(&mut parking, "d", 2, now).unwrap_err().to_string();
    assert!(full.starts_with("3 keys are parked, which is the limit: fix"), "{full}");
    queue(&mut parking, "a", &[2, 3, 4, 5]).unwrap();
    let full = queue(&mut parking, "a", &[6]).unwrap_err().to_string();
    assert!(full.starts_with("4 events wait for \"a\", parked at position 1"), "{full}");
    queue(&mut parking, "b", &[7, 8]).unwrap();
    let full = queue(&mut parking, "c", &[9]).unwrap_err().to_string();
    assert!(full.starts_with("6 events wait for parked keys"), "{full}");
    assert!(!parking.is_parked("d") && parking.len() == 3);
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

/// What a store makes of changes, and what was applied.
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
                        new.queue.retain(|position| *position > new.position);
                        *old = new;
                    }
                    None => self.parked.push(new),
                },
                ParkedChange::Queue { key, position } => {
                    self.of(&key).expect("it queues behind nothing").queue.push(position);
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

/// Events arrive, fail, are drained, asked for, skipped, saved; processes die. In the end each key's
/// events are applied once and in order, but for those that were skipped.
fn by_chance(seed: u64) {
    let mut chance = Chance(seed * 2 + 1);
    let settings = ParkingSettings { chunk: 1 + chance.below(5) as usize, ..<_>::default() };
    let (mut now, mut head) = (Instant::now(), 0_u64);
    let (mut log, mut bad) = (Vec::<(String, u64)>::new(), BTreeSet::new());
    let (mut store, mut saved_head) = (Store::default(), 0_usize);
    let mut parking = Parking::new(0, settings.clone());
    let (mut applied, mut begun) = (Vec::new(), None::<Drain>);
    for step in 0..600 {
        let is_last = step == 599;
        now += Duration::from_millis(chance.below(500));
        if is_last {
            bad.clear();
        }
        match if is_last { 9 } else { chance.below(10) } {
            0..=4 => {
                log.push((
                    ["a", "b", "c"][chance.below(3) as usize].to_owned(),
                    log.len() as u64 + 1,
                ));
                if chance.below(8) == 0 {
                    bad.insert(log.len() as u64);
                }
                let (key, position) = log[head as usize].clone();
                head += 1;
                if parking.is_parked(&key) {
                    queue(&mut parking, &key, &[position]).unwrap();
                } else if bad.contains(&position) {
                    park(&mut parking, &key, position, now).unwrap();
                } else {
                    applied.push((key, position));
                }
            }
            5 => begun = begun.or_else(|| parking.begin(now)),
            6 => {
                let Some(drain) = begun.take() else { continue };
                let (positions, may) = (numbers(&drain), parking.may_apply(&drain));
                let good = positions[..may].iter().take_while(|p| !bad.contains(p)).count();
                applied.extend(positions[..good].iter().map(|p| (drain.key.clone(), *p)));
                let stopped = positions.get(good).map(|_| Stopped {
                    event: "Noted".into(),
                    reason: (good < may).then(|| "bad".into()),
                });
                parking.end(drain, good, stopped, now, AT);
            }
            7 => {
                store.save(&mut parking, &applied);
                saved_head = head as usize;
            }
            8 => {
                let request = match chance.below(3) {
                    0 => ParkedRequest::Skip { reason: "chance".into() },
                    _ => ParkedRequest::Retry,
                };
                let asked = parking.saved_so_far();
                let parked = store.parked.get(chance.below(3) as usize);
                let parked = parked.map(|parked| (parked.key.clone(), parked.position));
                if let Some((key, position)) = parked {
                    parking.request((&key, position), request, asked, now);
                }
            }
            _ if is_last || chance.below(4) == 0 => {
                // The process dies; what it had folded since it saved comes again.
                parking = Parking::resume(0, settings.clone(), store.parked.clone(), now);
                (applied, begun) = (store.applied.clone(), None);
                for (key, position) in &log[saved_head..] {
                    match parking.is_parked(key) {
                        true => queue(&mut parking, key, &[*position]).unwrap(),
                        false if bad.contains(position) => {
                            park(&mut parking, key, *position, now).unwrap();
                        }
                        false => applied.push((key.clone(), *position)),
                    }
                }
                head = log.len() as u64;
            }
            _ => _ = bad.pop_first(),
        }
    }
    while let Some(drain) = parking.begin(now + Duration::from_secs(1)) {
        let (positions, may) = (numbers(&drain), parking.may_apply(&drain));
        applied.extend(positions[..may].iter().map(|p| (drain.key.clone(), *p)));
        let stopped = positions.get(may).map(|_| Stopped { event: "Noted".into(), reason: None });
        parking.end(drain, may, stopped, now, AT);
    }
    store.save(&mut parking, &applied);
    assert!(parking.is_empty() && store.parked.is_empty() && parking.queued == 0, "seed {seed}");
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
