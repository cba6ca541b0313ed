//! Fair share: the partitions of a model that a process should own.
//!
//! A pure function of the members and the present holders, the same in every process. Processes may
//! see different holders for a moment, and then two of them want the same partition. The lease is
//! granted to one of them, and after the next look they agree.

use uuid::Uuid;

/// For each partition, whether `me` should own it: what it holds, up to its share, and of the free
/// ones as many as it lacks.
///
/// Shares differ by one at most, and the greater ones are of those who hold most already, so nothing
/// moves once all are equal. A holder that is no member keeps what it has, and takes nothing more.
pub(crate) fn fair_share(members: &[Uuid], holders: &[Option<Uuid>], me: Uuid) -> Vec<bool> {
    let held = |member: Uuid| holders.iter().filter(|holder| **holder == Some(member)).count();
    let mine = || holders.iter().map(|holder| *holder == Some(me));
    let mut ranks: Vec<Uuid> = members.to_vec();
    ranks.sort_unstable();
    ranks.dedup();
    ranks.sort_by_key(|member| std::cmp::Reverse(held(*member))); // stable: then by id
    let Some(rank) = ranks.iter().position(|member| *member == me) else { return mine().collect() };
    let free = holders.iter().filter(|holder| holder.is_none()).count();
    let to_share = free + ranks.iter().map(|member| held(*member)).sum::<usize>();
    let (least, greater) = (to_share / ranks.len(), to_share % ranks.len());
    let share = |rank: usize| least + usize::from(rank < greater);
    let lacks = |rank: usize| share(rank).saturating_sub(held(ranks[rank]));

    let mut keeps = share(rank);
    let mut owns: Vec<bool> = mine().map(|is_mine| is_mine && take_one(&mut keeps)).collect();
    // Each begins behind what those before it lack, so that few want the same.
    let first = (0..rank).map(lacks).sum::<usize>();
    let places = (0..holders.len()).filter(|number| holders[*number].is_none());
    let mut places: Vec<usize> = places.collect();
    if let Some(first) = first.checked_rem(places.len()) {
        places.rotate_left(first);
    }
    places.into_iter().take(lacks(rank)).for_each(|number| owns[number] = true);
    owns
}

fn take_one(left: &mut usize) -> bool {
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::tests::Dice;

    fn ids(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    /// Holders of partitions, written as digits; `.` is free.
    fn held(holders: &str) -> Vec<Option<Uuid>> {
        holders.chars().map(|c| c.to_digit(10).map(|n| Uuid::from_u128(n.into()))).collect()
    }

    fn share(members: u128, holders: &str, me: u128) -> String {
        let owns = fair_share(&ids(members), &held(holders), Uuid::from_u128(me));
        owns.into_iter().map(|owns| if owns { 'x' } else { '.' }).collect()
    }

    #[test]
    fn one_takes_all_and_gives_a_newcomer_its_half() {
        assert_eq!(share(1, "......", 1), "xxxxxx");
        assert_eq!(share(2, "111111", 1), "xxx...");
        assert_eq!(share(2, "111111", 2), "......");
        assert_eq!(share(2, "111...", 2), "...xxx");
    }

    #[test]
    fn what_is_equal_stays_whoever_has_more() {
        for (me, owns) in [(1, "xx....."), (2, "..xx..."), (3, "....xxx")] {
            assert_eq!(share(3, "1122333", me), owns);
        }
        assert_eq!((share(3, "2", 1), share(3, "2", 2)), (".".into(), "x".into()));
    }

    #[test]
    fn those_that_lack_some_want_different_ones() {
        assert_eq!(
            (share(2, "......", 1), share(2, "......", 2)),
            ("xxx...".into(), "...xxx".into())
        );
        assert_eq!(
            (share(3, "11....", 2), share(3, "11....", 3)),
            ("..xx..".into(), "....xx".into())
        );
        // Until the first gives more up, both want what is free.
        assert_eq!(
            (share(3, "11111.", 2), share(3, "11111.", 3)),
            (".....x".into(), ".....x".into())
        );
    }

    #[test]
    fn who_is_no_member_keeps_what_it_has_and_its_share_is_not_waited_for() {
        assert_eq!(share(2, "333.", 3), "xxx.");
        assert_eq!(share(1, "333.", 1), "...x");
        assert_eq!(share(2, "33111.", 2), ".....x");
    }

    /// Processes come, die and act on what they saw some time ago; then they are left alone.
    #[test]
    fn from_any_state_all_come_to_equal_shares_and_rest_there() {
        for seed in 1..=300 {
            let mut dice = Dice(seed);
            let (partitions, most) = (1 + dice.below(24) as usize, 1 + dice.below(6) as u128);
            let members = ids(1 + u128::from(dice.below(most as u64)));
            let anybody = |dice: &mut Dice| match dice.below(most as u64 + 1) {
                0 => None,
                n => Some(Uuid::from_u128(n.into())),
            };
            let mut holders: Vec<_> = (0..partitions).map(|_| anybody(&mut dice)).collect();
            // Of those that are dead, leases expire.
            let mut seen: Vec<_> = members.iter().map(|_| holders.clone()).collect();
            let mut moved = 0;
            for _ in 0..40 * members.len() {
                let which = dice.below(members.len() as u64) as usize;
                let me = members[which];
                for (number, owns) in fair_share(&members, &seen[which], me).into_iter().enumerate()
                {
                    match (owns, holders[number]) {
                        (true, None) => holders[number] = Some(me),
                        (false, Some(holder)) if holder == me => holders[number] = None,
                        (_, Some(holder)) if !members.contains(&holder) => holders[number] = None,
                        _ => {}
                    }
                }
                // What it acts on the next time, which may be much later.
                seen[which] = holders.clone();
            }
            // At last each sees how it is.
            for _ in 0..2 * partitions {
                for me in &members {
                    for (number, owns) in
                        fair_share(&members, &holders, *me).into_iter().enumerate()
                    {
                        let new = match (owns, holders[number]) {
                            (true, None) => Some(*me),
                            (false, Some(holder)) if holder == *me => None,
                            (_, holder) => holder,
                        };
                        moved += usize::from(new != holders[number]);
                        holders[number] = new;
                    }
                }
            }
            let counts =
                members.iter().map(|me| holders.iter().filter(|h| **h == Some(*me)).count());
            let counts: Vec<_> = counts.collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "seed {seed}: {counts:?} of {partitions}");
            assert_eq!(counts.iter().sum::<usize>(), partitions, "seed {seed}: {holders:?}");
            assert!(moved <= 2 * partitions, "seed {seed}: {moved} moves");
        }
    }
}
