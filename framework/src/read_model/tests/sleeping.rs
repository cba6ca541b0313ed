//! Three processes that fall asleep anywhere and take over from one another all the time: whatever
//! any of them answers is a fold of the log, and never an older one than before.

use super::owning::Watched;
use super::*;

const KEYS: [&str; 3] = ["a", "b", "c"];
const CALLS: [&str; 6] = ["read", "load", "save", "saved", "checkpoint", "renew"];

/// Numbers without order, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % sides
    }
}

/// Position and number of each note, by key.
type Notes = [Vec<(u64, u64)>; 3];

fn folded(notes: &[(u64, u64)]) -> Sums {
    expected(&notes.iter().map(|(_, n)| *n).collect::<Vec<_>>())
}

/// Returns the number of events in a document, after checking that these are the first ones, with
/// all up to the position that it names.
fn checked(document: &Document<Sums>, notes: &[(u64, u64)]) -> u64 {
    let events = document.events as usize;
    assert_eq!(document.body, folded(&notes[..events]));
    let due = notes.iter().filter(|(position, _)| *position <= document.position.0).count();
    assert!(events >= due, "{document:?} lacks some of {notes:?}");
    document.events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_that_sleep_and_wake_at_any_time_answer_folds_only_and_never_older_ones() {
    let memory = MemoryStore::new();
    let watched: [Watched; 3] = Default::default();
    let brief = Pacing {
        hot_documents: 1,
        lease_for: Duration::from_millis(10),
        save_after_shared: Duration::from_millis(1),
        ..small()
    };
    let processes = [0, 1, 2].map(|n| watched[n].process(&memory, brief.clone()));
    let mut models = Vec::new();
    for process in &processes {
        models.push(process.sums().await);
    }
    let (mut dice, mut notes, mut head) = (Dice(7), Notes::default(), 0);
    let mut seen = [[0; 3]; 3];
    let fenced = || watched.iter().map(|watched| watched.count("fenced")).sum::<usize>();
    let mut answered = 0;
    for step in 0..20_000 {
        if step >= 600 && fenced() >= 3 {
            break;
        }
        let (key, process) = (dice.below(3), dice.below(3));
        head += 1;
        note(&memory, KEYS[key], head).await;
        notes[key].push((head, head));
        let sleeps: Vec<_> = CALLS.into_iter().filter(|_| dice.below(4) == 0).collect();
        match dice.below(8) {
            0 => watched[process].hold(&sleeps),
            1 => watched[process].hold(&["renew"]), // awake, and the last to learn of a heir
            2 => watched[process].hold(&["renew", "save"]),
            3 => watched[process].hold(&[]),
            _ => {}
        }
        let (process, key) = (dice.below(3), dice.below(3));
        let after = GlobalPosition([0, head][dice.below(2)]);
        let patience = Duration::from_millis(5);
        if let Ok(document) = models[process].read(KEYS[key], after, patience).await {
            let events = checked(&document, &notes[key]);
            assert!(document.position >= after && events >= seen[process][key], "{document:?}");
            seen[process][key] = events;
            answered += 1;
        }
    }
    assert!(answered > 50 && fenced() >= 3, "{answered} answers, {} refused saves", fenced());
    watched.iter().for_each(|watched| watched.hold(&[]));
    for model in &models {
        for (key, notes) in KEYS.iter().zip(&notes) {
            assert_eq!(read(model, key, head).await.body, folded(notes));
        }
    }
    until(|| models.iter().any(|model| model.progress().saved.0 == head)).await;
    for (key, notes) in KEYS.iter().zip(&notes) {
        let stored = memory
            .load_documents(&PartitionId::new("sums@1", 0), &[(*key).to_owned()])
            .await
            .unwrap()
            .documents;
        assert_eq!(serde_json::from_str::<Sums>(&stored[0].1).unwrap(), folded(notes));
    }
}
