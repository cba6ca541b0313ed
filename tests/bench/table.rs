//! One table for all rounds.

use crate::database::Store;
use crate::measure::Round;

pub fn heading(store: Store, title: &str) {
    println!("\n{}: {title}", store.name());
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>7} {:>10}  ",
        "", "/s", "p50 ms", "p99 ms", "CPU µs", "batch", "of the raw"
    );
}

/// A line of the table. `batch` is the mean number of events in a commit, `ratio` the share of the
/// raw limit and the batch size it was taken at.
pub fn line(
    name: &str,
    round: &Round,
    batch: Option<f64>,
    ratio: Option<(f64, usize)>,
    note: &str,
) {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let cpu = round.cpu.as_secs_f64() * 1e6 / round.commands.max(1) as f64;
    let batch = batch.map_or("-".to_owned(), |batch| format!("{batch:.0}"));
    let ratio = ratio.map_or("-".to_owned(), |(part, at)| format!("{part:.2} @{at}"));
    println!(
        "{name:<34} {:>9.0} {:>8.2} {:>8.2} {cpu:>8.1} {batch:>7} {ratio:>10}  {note}",
        round.rate(),
        ms(round.p50),
        ms(round.p99),
    );
}
