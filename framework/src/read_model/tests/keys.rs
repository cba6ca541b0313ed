//! Events of several keys, and documents that are deleted, whatever happens to the process.

use std::collections::BTreeMap;

use super::*;
use crate::store::contract::DocumentRange;

#[derive(PartialEq, Serialize, Deserialize)]
enum Dealt {
    /// The number for each of these documents.
    Shared { to: Vec<String>, n: u64 },
    /// These documents are deleted.
    Gone { to: Vec<String> },
    /// As `Shared`, and it panics for the keys in `bad`.
    Partly { to: Vec<String>, bad: Vec<String> },
}

aggregate!(Sharer, "sharer", Dealt);

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Shares {
    sum: u64,
    events: u64,
    #[serde(skip)]
    is_gone: bool,
}

impl ReadModel for Shares {
    const NAME: &'static str = "shares";

    fn sources() -> Sources<Self> {
        Sources::by::<Sharer>(|event| match &event.event {
            Dealt::Shared { to, .. } | Dealt::Gone { to } | Dealt::Partly { to, .. } => to.clone(),
        })
    }

    fn is_deleted(&self) -> bool {
        self.is_gone
    }
}

impl Fold<Sharer> for Shares {
    fn apply(&mut self, event: &EventEnvelope<Dealt>) {
        self.events += 1;
        match &event.event {
            Dealt::Shared { n, .. } => self.sum = mix(self.sum, *n),
            Dealt::Gone { .. } => self.is_gone = true,
            Dealt::Partly { bad, .. } => {
                assert!(!bad.iter().any(|bad| bad == event.key()), "not for me");
            }
        }
    }
}

async fn happen(store: &MemoryStore, event: &Dealt) {
    let json = serde_json::to_value(event).unwrap();
    let (name, body) = json.as_object().unwrap().iter().next().unwrap();
    let name: &'static str = match &**name {
        "Shared" => "Shared",
        "Gone" => "Gone",
        _ => "Partly",
    };
    append(store, ("sharer", "1"), &[(name, body.to_string())]).await;
}

fn names(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn all() -> DocumentRange {
    DocumentRange { limit: 1_000, ..DocumentRange::default() }
}

/// The store may not answer at first.
async fn started(process: &Process) -> ReadModelHandle<Shares> {
    loop {
        match process.start::<Shares>(1).await {
            Ok(model) => break model,
            Err(StartError::Store(StoreError::Unavailable(_))) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }
}

#[tokio::test]
async fn killed_at_any_moment_each_document_of_an_event_folds_it_once_and_deletions_stay() {
    let memory = MemoryStore::new();
    let mut documents = BTreeMap::<String, (u64, u64)>::new();
    let (mut head, mut chance) = (0, Chance(7));
    for round in 0..30 {
        let process = Process::new(whimsical(memory.clone(), round), small());
        let model = started(&process).await;
        for _ in 0..20 {
            let to = (0..chance.below(5)).map(|_| chance.below(9).to_string());
            let mut to: Vec<_> = to.collect();
            let is_deleting = chance.below(4) == 0;
            let event = match is_deleting {
                true => Dealt::Gone { to: to.clone() },
                false => Dealt::Shared { to: to.clone(), n: head },
            };
            happen(&memory, &event).await;
            to.sort_unstable();
            to.dedup(); // a key that is named twice counts once
            for key in to {
                match is_deleting {
                    true => drop(documents.remove(&key)),
                    false => {
                        let (sum, events) = documents.entry(key).or_default();
                        (*sum, *events) = (mix(*sum, head), *events + 1);
                    }
                }
            }
            head += 1;
        }
        match round % 3 {
            0 => {} // at once
            1 => until(|| model.progress().saved.0 > head - 10).await,
            _ => until(|| model.progress().applied.0 > head - 5).await,
        }
        process.kill().await;
    }
    let process = Process::new(memory.clone(), small());
    let model = process.start::<Shares>(1).await.unwrap();
    let page = model.list(&*process.store, &all(), GlobalPosition(head), WITHIN).await.unwrap();
    let found = page.documents.into_iter().map(|(key, found)| (key, (found.sum, found.events)));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), documents);
    assert_eq!((page.position.0, page.up_to.0, page.next), (head, head, None));
    for key in 0..9 {
        let read = model.read(&key.to_string(), GlobalPosition(head), WITHIN).await;
        let read = read.ok().map(|document| (document.body.sum, document.body.events));
        assert_eq!(read, documents.get(&key.to_string()).copied(), "{key}");
    }
}

#[tokio::test]
async fn a_list_is_no_older_than_what_was_read_before_it() {
    let store = obliging();
    let process = Process::new(store.clone(), patient());
    let model = process.start::<Shares>(1).await.unwrap();
    for n in 0..20 {
        happen(&store.memory, &Dealt::Shared { to: names(&["a"]), n }).await;
        let read = read(&model, "a", n + 1).await;
        let page = model.list(&*process.store, &all(), GlobalPosition::ZERO, WITHIN).await.unwrap();
        assert!(page.position >= read.position);
        assert_eq!(page.documents, [("a".to_owned(), read.body)], "saved on demand");
    }
    let late = model.list(&*process.store, &all(), GlobalPosition(99), AT_ONCE).await;
    assert!(matches!(late, Err(ReadError::NotYet { .. })), "{late:?}");
}

/// Else its other documents would count it twice after the restart.
#[tokio::test]
async fn an_event_that_cannot_park_all_its_bad_keys_is_applied_to_none_of_its_documents() {
    let mut settings = small();
    settings.parking.most_keys = 1;
    let store = obliging();
    let process = Process::new(store.clone(), settings.clone());
    let model = process.start::<Shares>(1).await.unwrap();
    happen(&store.memory, &Dealt::Shared { to: names(&["a", "b", "c"]), n: 1 }).await;
    let to = names(&["a", "b", "c"]);
    happen(&store.memory, &Dealt::Partly { to, bad: names(&["b", "c"]) }).await;
    until(|| matches!(model.progress().state, State::Halted { .. })).await;
    until(|| model.progress().saved.0 == 1).await;
    process.kill().await;
    settings.parking.most_keys = 2;
    let process = Process::new(store.clone(), settings);
    let model = process.start::<Shares>(1).await.unwrap();
    assert_eq!(read(&model, "a", 2).await.events, 2);
    for key in ["b", "c"] {
        let parked = model.read(key, GlobalPosition(2), WITHIN).await;
        assert!(matches!(&parked, Err(ReadError::Parked { position, .. }) if position.0 == 2));
    }
}

#[tokio::test]
async fn one_key_waits_for_its_own_bad_event_and_for_no_other_key_of_that_event() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.start::<Shares>(1).await.unwrap();
    let to = names(&["a", "b", "a\0", "c"]);
    happen(&store.memory, &Dealt::Partly { to, bad: names(&["b"]) }).await;
    happen(&store.memory, &Dealt::Shared { to: names(&["b", "c", "d"]), n: 2 }).await;
    assert_eq!(read(&model, "c", 2).await.events, 2);
    assert_eq!(read(&model, "a", 2).await.events, 1);
    let page = model.list(&*process.store, &all(), GlobalPosition(2), WITHIN).await.unwrap();
    assert_eq!(page.parked, ["a\u{fffd}", "b"]);
    let parked = store.memory.load_parked("shares@1", &ParkedQuery::default()).await.unwrap().keys;
    let told: Vec<_> = parked.iter().map(|p| (&*p.key, p.position.0, p.queue.len())).collect();
    assert_eq!(told, [("a\u{fffd}", 1, 0), ("b", 1, 1)]);
}

#[tokio::test]
async fn an_event_with_too_many_keys_is_applied_nowhere_and_parks_the_key_of_its_stream() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.start::<Shares>(1).await.unwrap();
    let most: Vec<_> =
        (0..crate::store::contract::MAX_KEYS_PER_EVENT).map(|n| n.to_string()).collect();
    happen(&store.memory, &Dealt::Shared { to: most.clone(), n: 1 }).await;
    assert_eq!(read(&model, "999", 1).await.events, 1);
    let too_many = [&most[..], &names(&["one more"])].concat();
    happen(&store.memory, &Dealt::Shared { to: too_many, n: 2 }).await;
    happen(&store.memory, &Dealt::Shared { to: names(&["999", "one more"]), n: 3 }).await;
    assert_eq!(read(&model, "999", 3).await.events, 2);
    assert_eq!(read(&model, "one more", 3).await.events, 1);
    until(|| model.progress().saved.0 == 3).await;
    let parked = store.memory.load_parked("shares@1", &ParkedQuery::default()).await.unwrap().keys;
    let [parked] = &parked[..] else { panic!("{parked:?}") };
    assert_eq!((&*parked.key, parked.position.0, parked.queue.len()), ("1", 2, 0));
    assert!(parked.reason.contains("has more than 1000 keys"), "{}", parked.reason);
}

#[tokio::test]
async fn a_key_that_an_event_names_many_times_counts_once() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.start::<Shares>(2).await.unwrap();
    let often = vec!["a".to_owned(); 10 * crate::store::contract::MAX_KEYS_PER_EVENT];
    let many = (1..crate::store::contract::MAX_KEYS_PER_EVENT).map(|n| n.to_string()).collect();
    happen(&store.memory, &Dealt::Shared { to: [often, many].concat(), n: 1 }).await;
    assert_eq!(read(&model, "a", 1).await.events, 1);
    assert_eq!(read(&model, "999", 1).await.events, 1);
    assert_eq!(
        store.memory.load_parked("shares@1", &ParkedQuery::default()).await.unwrap().keys,
        []
    );
}

/// The same read model in three releases, by the keys of an event and by whether it takes in the
/// first one.
macro_rules! moving {
    ($name:ident, |$n:ident| $key:expr, $takes_all:literal) => {
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $name(Vec<u64>);

        impl ReadModel for $name {
            const NAME: &'static str = "moving";

            fn sources() -> Sources<Self> {
                Sources::by::<Sharer>(|event| match event.event {
                    Dealt::Shared { n: $n, .. } => vec![$key.to_owned()],
                    _ => vec![],
                })
            }
        }

        impl Fold<Sharer> for $name {
            fn apply(&mut self, event: &EventEnvelope<Dealt>) {
                if let Dealt::Shared { n, .. } = event.event {
                    assert!($takes_all || n > 1, "not for me");
                    self.0.push(n);
                }
            }
        }
    };
}

moving!(First, |_n| "k", false);
moving!(Moved, |n| if n == 7 { "elsewhere" } else { "k" }, true);
moving!(Back, |_n| "k", true);

#[tokio::test]
async fn an_unlisted_event_whose_key_has_moved_keeps_its_key_parked() {
    let mut settings = small();
    settings.parking.most_listed = 3;
    let store = obliging();
    for n in 1..=9 {
        happen(&store.memory, &Dealt::Shared { to: vec![], n }).await;
    }
    let parked =
        async || store.memory.load_parked("moving@1", &ParkedQuery::default()).await.unwrap().keys;
    let process = Process::new(store.clone(), settings.clone());
    let model = process.start::<First>(1).await.unwrap();
    until(|| model.progress().saved.0 == 9).await;
    let [key] = &parked().await[..] else { panic!("not one key") };
    assert_eq!(
        (key.position.0, key.queue.len(), key.unlisted_from),
        (1, 3, Some(GlobalPosition(5)))
    );
    process.kill().await;
    let process = Process::new(store.clone(), settings.clone());
    let moved = process.start::<Moved>(1).await.unwrap();
    let waiting = async {
        while !parked().await.iter().any(|key| key.reason.contains("raise the VERSION")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("the seventh event is dropped in silence");
    drop(moved);
    process.kill().await;
    let process = Process::new(store.clone(), settings);
    let model = process.start::<Back>(1).await.unwrap();
    let waiting = async {
        while !parked().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("it stays parked");
    assert_eq!(read(&model, "k", 9).await.0, (1..=9).collect::<Vec<_>>());
}
