//! Cost of Actum beside the limit of the raw database, in one run on one machine.
//!
//! Figures of different runs do not compare: read the ratios. `scripts/bench` builds and starts
//! it; `bench --only raw,actum --store postgres` runs some sections on one store, `--seconds 10`
//! makes each round longer.

mod accounts;
mod catch_up;
mod database;
mod edge;
mod freshness;
mod http;
mod idle;
mod in_process;
mod load;
mod measure;
mod memory;
mod million;
mod options;
mod processes;
#[path = "../support/random.rs"]
mod random;
mod raw;
mod table;
mod transfers;
mod unread;

use options::{Options, Section};
use raw::Limits;

/// Any failure ends the run: a figure beside an error means nothing.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if_eq(processes::CALLERS).is_some() {
        return processes::call(words).await;
    }
    if words.next_if_eq(catch_up::FOLLOWER).is_some() {
        return catch_up::follow(words).await;
    }
    if words.next_if_eq(memory::CASE).is_some() {
        return memory::case(words).await;
    }
    if words.next_if_eq(freshness::PROBE).is_some() {
        return freshness::probe(words).await;
    }
    let options = Options::parse(words)?;
    std::fs::create_dir_all(&options.folder)?;
    let finished = run(&options).await;
    std::fs::remove_dir_all(&options.folder)?;
    finished
}

async fn run(options: &Options) -> Outcome {
    println!("SQLite in {}, WAL, synchronous FULL", options.folder.display());
    println!("PostgreSQL on this machine, its defaults; CPU is that of the client alone");
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, {} s for each round", options.round.as_secs_f32());
    let mut stores: Vec<_> = options.stores.iter().map(|s| (*s, Limits::default())).collect();
    for section in &options.sections {
        for (store, limits) in &mut stores {
            let store = *store;
            match section {
                Section::Raw => *limits = raw::run(options, store).await?,
                Section::Actum => in_process::run(options, store, limits).await?,
                Section::Processes => processes::run(options, store, limits).await?,
                Section::Http => http::run(options, store, limits).await?,
                Section::Edge => edge::run(options, store).await?,
                Section::CatchUp => catch_up::run(options, store).await?,
                Section::Freshness => freshness::run(options, store).await?,
                Section::Load => load::run(options, store).await?,
                Section::Million => million::run(options, store).await?,
                Section::Unread => unread::run(options, store).await?,
                Section::Transfers => transfers::run(options, store).await?,
                Section::Idle => idle::run(options, store).await?,
                Section::Memory => memory::run(options, store).await?,
            }
        }
    }
    Ok(())
}
