//! Several processes and the partitions of one read model: each owns its share, all answer from any.

use super::owning::{Watched, lasting};
use super::*;

const PARTITIONS: u32 = 12;

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Shares {
    sum: u64,
    events: u64,
}

impl ReadModel for Shares {
    const NAME: &'static str = "shares";
    const PARTITIONS: u32 = PARTITIONS;

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

impl Fold<Book> for Shares {
    fn apply(&mut self, event: &EventEnvelope<Noted>) {
        if let Noted::Noted { n } = &event.event {
            self.sum = mix(self.sum, *n);
        }
        self.events += 1;
    }
}

fn folded(notes: &[u64]) -> Shares {
    let Sums { sum, events } = expected(notes);
    Shares { sum, events }
}

/// Notes of each of a hundred keys, and the head of the log.
struct Notebook {
    notes: Vec<Vec<u64>>,
    head: u64,
}

impl Notebook {
    fn new() -> Self {
        Self { notes: vec![Vec::new(); 100], head: 0 }
    }

    async fn note(&mut self, memory: &MemoryStore) -> (String, Shares) {
        let key = (self.head * 7 % 100) as usize;
        note(memory, &key.to_string(), self.head).await;
        self.notes[key].push(self.head);
        self.head += 1;
        (key.to_string(), folded(&self.notes[key]))
    }
}

fn owned(model: &ReadModelHandle<Shares>) -> usize {
    model.partitions().iter().filter(|partition| partition.is_owner).count()
}

/// Each owns so many, and no partition has two owners.
async fn settled(models: &[&ReadModelHandle<Shares>], counts: &[usize]) {
    until(|| models.iter().map(|model| owned(model)).eq(counts.iter().copied())).await;
    for number in 0..PARTITIONS as usize {
        let owners = models.iter().filter(|model| model.partitions()[number].is_owner);
        assert_eq!(owners.count(), 1, "of partition {number}");
    }
}

#[tokio::test]
async fn one_process_folds_all_partitions_and_each_key_once() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.start::<Shares>(0).await.unwrap();
    settled(&[&model], &[12]).await;
    let mut book = Notebook::new();
    for _ in 0..300 {
        book.note(&store.memory).await;
    }
    for (key, notes) in book.notes.iter().enumerate() {
        let document = read(&model, &key.to_string(), 300).await;
        assert_eq!(document.body, folded(notes), "{key}");
    }
    // Also of partitions that have no event among the last ones.
    until(|| model.partitions().iter().all(|partition| partition.saved.0 == 300)).await;
    model.flush_and_stop().await;
    process.kill().await;
    let again = Process::new(store, small()).start::<Shares>(0).await.unwrap();
    assert!(again.partitions().iter().all(|partition| partition.applied.0 == 300));
    assert_eq!(read(&again, "7", 0).await.body, folded(&book.notes[7]));
}

#[tokio::test]
async fn two_processes_share_evenly_and_who_leaves_or_dies_is_replaced() {
    let memory = MemoryStore::new();
    let process = || {
        Watched::default()
            .process(&memory, Pacing { lease_for: Duration::from_millis(300), ..small() })
    };
    let (one, two) = (process(), process());
    let first = one.start::<Shares>(0).await.unwrap();
    settled(&[&first], &[12]).await;
    let second = two.start::<Shares>(0).await.unwrap();
    settled(&[&first, &second], &[6, 6]).await;
    let (three, mut book) = (process(), Notebook::new());
    let third = three.start::<Shares>(0).await.unwrap();
    settled(&[&first, &second, &third], &[4, 4, 4]).await;
    for _ in 0..100 {
        let (key, due) = book.note(&memory).await;
        for model in [&first, &second, &third] {
            assert_eq!(read(model, &key, book.head).await.body, due);
        }
    }
    second.flush_and_stop().await;
    settled(&[&first, &third], &[6, 6]).await;
    one.kill().await;
    settled(&[&third], &[12]).await;
    for (key, notes) in book.notes.iter().enumerate() {
        assert_eq!(read(&third, &key.to_string(), 100).await.body, folded(notes), "{key}");
    }
}

/// Number of events and position that a reader has seen of each key.
type Seen = Vec<(u64, GlobalPosition)>;

async fn read_all(model: &ReadModelHandle<Shares>, book: &Notebook, seen: &mut Seen) {
    for (key, notes) in book.notes.iter().enumerate() {
        let read = model.read(&key.to_string(), GlobalPosition::ZERO, WITHIN).await;
        let Document { body, position } = match read {
            Err(ReadError::NotFound { .. }) if seen[key].0 == 0 => continue,
            read => read.unwrap(),
        };
        assert_eq!(body, folded(&notes[..body.events as usize]));
        let now = (body.events, position);
        assert!(now.0 >= seen[key].0 && now.1 >= seen[key].1, "{now:?} after {:?}", seen[key]);
        seen[key] = now;
    }
}

#[tokio::test]
async fn while_partitions_move_reads_are_answered_and_none_is_older_than_one_before() {
    let memory = MemoryStore::new();
    let process = || Watched::default().process(&memory, lasting());
    let one = process();
    let first = one.start::<Shares>(0).await.unwrap();
    let (mut book, mut by_first) = (Notebook::new(), vec![Default::default(); 100]);
    for _ in 0..4 {
        let two = process();
        let second = two.start::<Shares>(0).await.unwrap();
        let mut by_second = vec![Default::default(); 100];
        while owned(&second) < 6 {
            book.note(&memory).await;
            read_all(&first, &book, &mut by_first).await;
            read_all(&second, &book, &mut by_second).await;
        }
        settled(&[&first, &second], &[6, 6]).await;
        tokio::join!(second.flush_and_stop(), async {
            while owned(&first) < 12 {
                book.note(&memory).await;
                read_all(&first, &book, &mut by_first).await;
            }
        });
        two.kill().await;
    }
    read(&first, "0", book.head).await;
}

/// As `Sums`, by a program that has learnt to do without transfers.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Newer {
    events: u64,
}

impl ReadModel for Newer {
    const NAME: &'static str = Sums::NAME;

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

impl Fold<Book> for Newer {
    fn apply(&mut self, _: &EventEnvelope<Noted>) {
        self.events += 1;
    }
}

#[tokio::test]
async fn a_process_that_halted_leaves_its_partition_to_a_newer_program() {
    let memory = MemoryStore::new();
    let process = || Watched::default().process(&memory, small());
    let (one, two) = (process(), process());
    let old = one.sums().await;
    append(&memory, ("transfer", "1"), &[("Shredded", "{}".to_owned())]).await;
    until(|| matches!(old.progress().state, State::Halted { .. })).await;
    let newer = two.start::<Newer>(0).await.unwrap();
    until(|| newer.progress().is_owner).await;
    note(&memory, "a", 1).await;
    assert_eq!(read(&newer, "a", 2).await.body, Newer { events: 1 });
    assert!(matches!(old.progress().state, State::Halted { .. }));
}

async fn refused<M: ReadModel>(memory: &MemoryStore) -> String {
    match Process::new(memory.clone(), small()).start::<M>(0).await {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

macro_rules! divided {
    ($name:ident, $version:literal, $partitions:literal) => {
        #[derive(Default, Clone, Serialize, Deserialize)]
        struct $name;

        impl ReadModel for $name {
            const NAME: &'static str = "divided";
            const VERSION: u32 = $version;
            const PARTITIONS: u32 = $partitions;

            fn sources() -> Sources<Self> {
                Sources::of::<Book>()
            }
        }

        impl Fold<Book> for $name {
            fn apply(&mut self, _: &EventEnvelope<Noted>) {}
        }
    };
}

divided!(InThree, 1, 3);
divided!(InFour, 1, 4);
divided!(InFourAnew, 2, 4);
divided!(InNone, 3, 0);
divided!(InTooMany, 3, 1025);

#[tokio::test]
async fn a_version_keeps_its_number_of_partitions() {
    let memory = MemoryStore::new();
    assert_eq!(refused::<InThree>(&memory).await, "accepted");
    let other = refused::<InFour>(&memory).await;
    assert!(
        other.contains("created with 3 partitions and now has 4: raise its VERSION"),
        "{other}"
    );
    assert_eq!(refused::<InFourAnew>(&memory).await, "accepted");
    for refused in [refused::<InNone>(&memory).await, refused::<InTooMany>(&memory).await] {
        assert!(refused.contains("1 to 1024 are allowed"), "{refused}");
    }
}
