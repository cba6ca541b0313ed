//! Cost of the bank's edge for a command: idempotency keys, authentication, rate limits.
//!
//! Each is switched on alone and all are together, in turns with none, each turn in another order, so
//! that what the machine does meanwhile is shared among them. Every request has the headers of all,
//! so that it costs wrk, which shares the processors, the same: where one is off, its header has a
//! name that the bank does not know.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use crate::accounts::{self, ReadModels};
use crate::database::Store;
use crate::http::{CONNECTIONS, credit, program};
use crate::measure::Round;
use crate::options::Options;
use crate::{Outcome, table};

/// A limit that is never reached, because a refusal is not the measured cost.
const RATE: [&str; 2] = ["--rate", "10000000/s"];

/// New keys for each request: ordered like UUIDs of version 7, and random like those of version 4.
const ORDERED: &str = "string.format('%s-%08x-%08x', start, sent, math.random(0, 2147483647))";
const RANDOM: &str = "string.format('%08x-%s-%08x', math.random(0, 2147483647), start, sent)";

struct EdgeCase<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    headers: String,
    rounds: Vec<Round>,
}

pub async fn run(options: &Options, store: Store) -> Outcome {
    let rounds = options.times;
    let title =
        format!("the edge of the bank, {CONNECTIONS} connections, {rounds} rounds in turns");
    table::heading(store, &title);
    let database = store.fresh(options).await?;
    let app = accounts::bank(&database, ReadModels::None).await?;
    accounts::open_all(&app).await?;
    app.shutdown().await;
    drop(app);
    let file = options.folder.join("api-keys.json");
    let key = new_key(&file)?;
    let file = file.display().to_string();
    let keys = ["--api-keys", file.as_str()];
    let case = |name, arguments: &[_], [keyed, known]: [&str; 2], id| EdgeCase {
        name,
        arguments: arguments.to_vec(),
        headers: format!("wrk.headers['{keyed}'] = {id} wrk.headers['{known}'] = 'Bearer {key}'"),
        rounds: Vec::new(),
    };
    let ([keyed, known], [no_key, unknown]) =
        (["Idempotency-Key", "Authorization"], ["X-No-Key-At-All", "X-Nobody-Else"]);
    let mut cases = [
        case("nothing", &[], [no_key, unknown], ORDERED),
        case("Idempotency-Keys in order", &[], [keyed, unknown], ORDERED),
        case("the same without order", &[], [keyed, unknown], RANDOM),
        case("an API key", &keys, [no_key, known], ORDERED),
        case("a rate limit", &RATE, [no_key, unknown], ORDERED),
        case("all three, keys in order", &[keys, RATE].concat(), [keyed, known], ORDERED),
    ];
    let count = cases.len();
    for turn in 0..rounds {
        for place in 0..count {
            let case = &mut cases[(turn + place) % count];
            let round = credit(options, &database.url, &case.arguments, &case.headers).await?;
            case.rounds.push(round);
        }
    }
    for EdgeCase { name, rounds, .. } in &cases {
        let sum = rounds.iter().fold(Round::default(), |sum, round| Round {
            elapsed: sum.elapsed + round.elapsed,
            ..sum.beside(*round)
        });
        let part = |of: fn(&Round) -> f64| {
            let parts = rounds.iter().zip(&cases[0].rounds).map(|(on, off)| of(on) / of(off) - 1.0);
            EdgePart::of(parts.collect())
        };
        let note = format!("{} /s, {} CPU", part(Round::rate), part(cpu));
        table::line(name, &sum, None, None, &note);
    }
    Ok(())
}

/// Processor time of the bank for a request.
fn cpu(round: &Round) -> f64 {
    round.cpu.max(Duration::from_nanos(1)).as_secs_f64() / round.commands.max(1) as f64
}

/// Difference of one measured quantity: the mean of all turns and its standard error.
struct EdgePart {
    mean: f64,
    error: f64,
}

impl EdgePart {
    fn of(parts: Vec<f64>) -> Self {
        let count = parts.len() as f64;
        let mean = parts.iter().sum::<f64>() / count;
        let squares = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>();
        Self { mean, error: (squares / (count - 1.0).max(1.0) / count).sqrt() }
    }
}

impl fmt::Display for EdgePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.0} ± {:.0} %", self.mean * 100.0, self.error * 100.0)
    }
}

/// Creates a key that may write, and writes the file with its line.
fn new_key(file: &std::path::Path) -> Outcome<String> {
    let made = Command::new(program()?)
        .args(["key", "new", "--name", "bench", "--scopes", "accounts:write"])
        .output()?;
    let printed = String::from_utf8(made.stdout)?;
    let (key, line) = printed.split_once('\n').ok_or("no key was made")?;
    std::fs::write(file, line)?;
    Ok(key.to_owned())
}
