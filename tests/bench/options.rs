//! The command line: sections, duration, and databases.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::database::{STORES, Store};

const USAGE: &str = "bench [--only raw,actum,processes,http,edge,catchup,freshness,load,million,unread,idle,memory] [--store sqlite,postgres] \
     [--in-flight 1,256] [--seconds 3] [--events 1000000] [--times 3] [--folder target/bench]";

/// A part of the benchmark that can run alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The limit: sqlx alone.
    Raw,
    /// Commands in this process.
    Actum,
    /// Commands in one and in two processes on one database.
    Processes,
    /// The bank as a process of its own, under wrk.
    Http,
    /// Cost of the bank's edge for a command.
    Edge,
    /// Read models from nothing to the head.
    CatchUp,
    /// From a command to a read that sees it.
    Freshness,
    /// One long aggregate into memory.
    Load,
    /// A million aggregates touched once each.
    Million,
    /// The bank's memory while its clients read nothing.
    Unread,
    /// A process manager between the commands, and open deadlines.
    Transfers,
    /// An application to which nothing happens.
    Idle,
    /// The peak memory of large events and documents.
    Memory,
}

pub const SECTIONS: [(&str, Section); 13] = [
    ("raw", Section::Raw),
    ("actum", Section::Actum),
    ("processes", Section::Processes),
    ("http", Section::Http),
    ("edge", Section::Edge),
    ("catchup", Section::CatchUp),
    ("freshness", Section::Freshness),
    ("load", Section::Load),
    ("million", Section::Million),
    ("unread", Section::Unread),
    ("transfers", Section::Transfers),
    ("idle", Section::Idle),
    ("memory", Section::Memory),
];

/// The parsed command line.
pub struct Options {
    pub sections: Vec<Section>,
    pub stores: Vec<Store>,
    /// Numbers of commands in flight to run, of those that the sections use; all if none is named.
    pub in_flight: Vec<u64>,
    /// Duration of each round.
    pub round: Duration,
    /// Number of events to catch up with.
    pub events: u64,
    /// Number of repetitions.
    pub times: usize,
    /// Folder of the databases, created at the start and removed at the end. On a memory disk
    /// nothing would be durable.
    pub folder: PathBuf,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            sections: SECTIONS.map(|(_, section)| section).to_vec(),
            stores: STORES.map(|(_, store)| store).to_vec(),
            in_flight: Vec::new(),
            round: Duration::from_secs(3),
            events: 1_000_000,
            times: 3,
            folder: Path::new("target/bench").join(std::process::id().to_string()),
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(USAGE)?;
            match word.as_str() {
                "--only" => options.sections = named(&value, &SECTIONS)?,
                "--store" => options.stores = named(&value, &STORES)?,
                "--in-flight" => {
                    let numbers = value.split(',').map(str::parse);
                    options.in_flight = numbers.collect::<Result<_, _>>()?;
                }
                "--seconds" => options.round = Duration::try_from_secs_f32(value.parse()?)?,
                "--events" => options.events = value.parse::<u64>()?.max(1),
                "--times" => options.times = value.parse::<usize>()?.max(1),
                "--folder" => {
                    options.folder = Path::new(&value).join(std::process::id().to_string())
                }
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    /// Checks that only this section runs, on this store.
    pub fn is_only(&self, section: Section, store: Store) -> bool {
        self.sections == [section] && self.stores == [store]
    }
}

fn named<T: Copy>(names: &str, all: &[(&str, T)]) -> Outcome<Vec<T>> {
    let find = |name: &str| all.iter().find(|(known, _)| *known == name);
    names.split(',').map(|name| Ok(find(name).ok_or(USAGE)?.1)).collect()
}
