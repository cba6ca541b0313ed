//! Several processes on one log: each partition has one owner, and all answer.

use super::{Mixes, add, builder, mixed, read_mixes};
use crate::support::place::Place;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn of_two_processes_both_answer_and_one_goes_on_without_the_other() {
    let place = Place::postgres().await;
    let first = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let second = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let mut expected = (0, 0);
    for n in 0..30 {
        let writer = if n % 2 == 0 { &first } else { &second };
        let position = add(writer, "1", n).await;
        expected = (mixed(expected.0, n), n + 1);
        for app in [&first, &second] {
            let (mixes, reflects) = read_mixes(app, position).await;
            assert_eq!(mixes["1"], expected);
            assert!(reflects >= position);
        }
    }
    first.shutdown().await;
    drop(first);
    let position = add(&second, "1", 99).await;
    expected = (mixed(expected.0, 99), 31);
    assert_eq!(read_mixes(&second, position).await.0["1"], expected);
    second.shutdown().await;
}
