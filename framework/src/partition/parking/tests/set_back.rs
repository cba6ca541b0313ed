//! Keys that are set back to the first event that the stored document lacks: their order, a drain
//! that they make void, and the limit of keys.

use super::*;

fn set_back(parking: &mut Parking, key: &str, positions: &[u64], now: Instant) -> Result<(), Full> {
    let positions: Vec<_> = positions.iter().copied().map(GlobalPosition).collect();
    parking.set_back(key, &positions, "cannot be stored".to_owned(), now, AT)
}

#[test]
fn a_key_that_is_set_back_is_due_at_once_and_waits_in_the_order_of_the_log() {
    let now = Instant::now();
    let mut parking = Parking::new(0, ParkingSettings::default());
    set_back(&mut parking, "new", &[3, 5], now).unwrap();
    assert_eq!(drain(&mut parking, now, |position| position == 5), Some(vec![3]));
    assert_eq!(parking.standing("new"), Some((GlobalPosition(5), "still bad")));
    // One that stands further on already: what it stood at and what waits come after.
    park(&mut parking, "old", 20, now).unwrap();
    queue(&mut parking, "old", &[22, 24]);
    set_back(&mut parking, "old", &[11, 13], now).unwrap();
    assert_eq!(drain(&mut parking, now, |_| false), Some(vec![11, 13, 20, 22, 24]));
    assert!(!parking.is_parked("old"));
}

#[test]
fn a_drain_of_a_key_that_is_set_back_meanwhile_comes_to_nothing() {
    let now = Instant::now();
    let mut parking = Parking::new(0, ParkingSettings { tries: 1, ..<_>::default() });
    park(&mut parking, "a", 7, now).unwrap();
    let begun = parking.begin(now + Duration::from_secs(9)).unwrap();
    assert!(parking.is_current(&begun));
    set_back(&mut parking, "a", &[2, 4], now).unwrap();
    assert!(!parking.is_current(&begun));
    parking.abandon(&begun);
    assert_eq!(drain(&mut parking, now, |_| false), Some(vec![2, 4, 7]));
}

#[test]
fn keys_that_are_set_back_count_towards_the_limits() {
    let now = Instant::now();
    let mut parking = Parking::new(0, small());
    for key in ["a", "b", "c"] {
        set_back(&mut parking, key, &[1], now).unwrap();
    }
    let full = set_back(&mut parking, "d", &[1], now).unwrap_err().to_string();
    assert!(full.contains("3 keys are parked") && full.contains("cannot be stored"), "{full}");
    set_back(&mut parking, "a", &[1], now).unwrap();
}
