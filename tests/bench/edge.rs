//! What the bank's edge costs a command: keys that are remembered, who may enter, how often.
//!
//! Each is switched on alone and all are together, in turns with none, so that what the disk does
//! meanwhile is shared among them. Every request has the headers of all, so that it costs wrk, which
//! shares the processors, the same: where one is off, its header has a name that the bank does not know.

use std::process::Command;
use std::time::Duration;

use crate::accounts::{self, ReadModels};
use crate::database::Store;
use crate::http::{CONNECTIONS, credit, program};
use crate::measure::Round;
use crate::options::Options;
use crate::{Outcome, table};

/// More than there will be: what is turned away would not be a cost.
const RATE: [&str; 2] = ["--rate", "10000000/s"];

/// New keys for each request: in order, as UUIDs of version 7 are, and without, as those of version 4.
const ORDERED: &str = "string.format('%s-%08x-%08x', start, sent, math.random(0, 2147483647))";
const RANDOM: &str = "string.format('%08x-%s-%08x', math.random(0, 2147483647), start, sent)";

struct Case<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    headers: String,
    sum: Round,
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
    let case = |name, arguments: &[_], [keyed, known]: [&str; 2], id| Case {
        name,
        arguments: arguments.to_vec(),
        headers: format!("wrk.headers['{keyed}'] = {id} wrk.headers['{known}'] = 'Bearer {key}'"),
        sum: Round::default(),
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
    for _ in 0..rounds {
        for case in &mut cases {
            let round = credit(options, &database.url, &case.arguments, &case.headers).await?;
            let sum = std::mem::take(&mut case.sum);
            case.sum = Round { elapsed: sum.elapsed + round.elapsed, ..sum.beside(round) };
        }
    }
    let plain = [cases[0].sum.rate(), cpu(&cases[0].sum)];
    for Case { name, sum, .. } in &cases {
        let part = |of: f64| (of - 1.0) * 100.0;
        let (rate, time) = (part(sum.rate() / plain[0]), part(cpu(sum) / plain[1]));
        table::line(name, sum, None, None, &format!("{rate:+.0} % /s, {time:+.0} % CPU"));
    }
    Ok(())
}

/// Processor time of the bank for a request.
fn cpu(round: &Round) -> f64 {
    round.cpu.max(Duration::from_nanos(1)).as_secs_f64() / round.commands.max(1) as f64
}

/// Makes a key that may write; its line is all of the file.
fn new_key(file: &std::path::Path) -> Outcome<String> {
    let made = Command::new(program()?)
        .args(["key", "new", "--name", "bench", "--scopes", "accounts:write"])
        .output()?;
    let printed = String::from_utf8(made.stdout)?;
    let (key, line) = printed.split_once('\n').ok_or("no key was made")?;
    std::fs::write(file, line)?;
    Ok(key.to_owned())
}
