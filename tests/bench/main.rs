//! What Actum costs, beside the limit of the raw database, in one run on one machine.
//!
//! Figures of different runs do not compare: read the ratios. `scripts/bench` builds and starts
//! it; `bench --only raw,actum` runs some sections, `--seconds 10` makes each round longer.

mod accounts;
mod catch_up;
mod http;
mod in_process;
mod load;
mod measure;
mod million;
mod options;
mod raw;
mod table;

use options::{Options, Section};
use raw::Limits;

/// Any failure ends the run: a figure beside an error means nothing.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let options = Options::parse(std::env::args().skip(1))?;
    std::fs::create_dir_all(&options.folder)?;
    let finished = run(&options).await;
    std::fs::remove_dir_all(&options.folder)?;
    finished
}

async fn run(options: &Options) -> Outcome {
    println!("SQLite in {}, WAL, synchronous FULL", options.folder.display());
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, {} s for each round", options.round.as_secs_f32());
    let mut limits = Limits::default();
    for section in &options.sections {
        match section {
            Section::Raw => limits = raw::run(options).await?,
            Section::Actum => in_process::run(options, &limits).await?,
            Section::Http => http::run(options, &limits).await?,
            Section::CatchUp => catch_up::run(options).await?,
            Section::Load => load::run(options).await?,
            Section::Million => million::run(options).await?,
        }
    }
    Ok(())
}
