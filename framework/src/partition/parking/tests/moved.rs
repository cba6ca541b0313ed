//! Unlisted events whose key is another one in the next release: the key stays parked at the event
//! before them, and goes on once the keys are the old ones again.

use super::*;

/// A store with the key `a`, parked at 1: four listed events, and as unlisted ones the even
/// positions from 10 to 20.
fn saved(now: Instant) -> Store {
    let mut parking = Parking::new(0, small());
    park(&mut parking, "a", 1, now).unwrap();
    queue(&mut parking, "a", &[2, 3, 4, 5]);
    let mut store = Store::default();
    store.save(&mut parking, &[]);
    queue(&mut parking, "a", &[10, 12, 14]);
    store.save(&mut parking, &[]);
    queue(&mut parking, "a", &[16, 18, 20]);
    store.save(&mut parking, &[]);
    store
}

/// Drains and lists until nothing is due. The log has a page of ten events, and `keys` says which of
/// them are of the key `a`. Returns what was applied.
fn go_on(parking: &mut Parking, now: Instant, keys: impl Fn(u64) -> bool) -> Vec<u64> {
    let mut applied = Vec::new();
    loop {
        if let Some(listing) = parking.begin_listing(now) {
            let page = listing.from.0..(listing.from.0 + 10);
            let found: Vec<_> = page.clone().filter(|at| keys(*at)).map(GlobalPosition).collect();
            let (to, reached) = (GlobalPosition(page.end - 1), GlobalPosition(20));
            parking.end_listing(listing, &found, to, reached, now);
        } else if let Some(good) = drain(parking, now, |_| false) {
            applied.extend(good);
        } else {
            return applied;
        }
    }
}

#[test]
fn unlisted_events_that_have_another_key_now_are_not_dropped_in_silence() {
    let now = Instant::now();
    let is_even = |at: u64| at.is_multiple_of(2);
    // Fewer, others of the same number, more.
    let others: [fn(u64) -> bool; 4] = [
        |at| at.is_multiple_of(2) && at != 14,
        |at| at.is_multiple_of(2) && at != 20,
        |at| at.is_multiple_of(2) && at != 14 || at == 15,
        |at| at.is_multiple_of(2) || at == 19,
    ];
    for keys in others {
        let mut store = saved(now);
        let mut parking = Parking::resume(0, small(), store.parked.clone(), now);
        assert_eq!(go_on(&mut parking, now, keys), [1, 2, 3, 4]);
        let (position, reason) = parking.standing("a").unwrap();
        assert!(position.0 == 5 && reason.contains("raise the VERSION"), "{position}: {reason}");
        let skip = ParkedRequest::Skip { reason: "by hand".into() };
        store.save(&mut parking, &[]);
        parking.request(("a", position), skip, parking.saved_so_far(), now);
        assert_eq!(go_on(&mut parking, now, keys), [0; 0], "a skip means one event");
        store.save(&mut parking, &[]);
        // The release is taken back.
        let mut parking = Parking::resume(0, small(), store.parked.clone(), now);
        let later = now + Duration::from_secs(60);
        assert_eq!(go_on(&mut parking, later, is_even), [5, 10, 12, 14, 16, 18, 20]);
        assert!(parking.is_empty());
    }
}

#[test]
fn unlisted_events_of_the_same_keys_are_applied_after_a_restart() {
    let now = Instant::now();
    let mut parking = Parking::resume(0, small(), saved(now).parked, now);
    let all = go_on(&mut parking, now, |at| at.is_multiple_of(2));
    assert_eq!(all, [1, 2, 3, 4, 5, 10, 12, 14, 16, 18, 20]);
    assert!(parking.is_empty());
}
