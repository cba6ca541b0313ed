//! The documents in memory, alone.

use super::*;
use crate::catch_panic::Isolated;
use crate::read_model::documents::{Documents, HandedOut, Lookup};

fn bump(documents: &mut Documents<Sums>, key: &str) {
    let copy = documents.changed_copy(key, |sums| sums.events += 1).unwrap();
    documents.put_changed(key, GlobalPosition(1), copy);
}

fn events(documents: &mut Documents<Sums>, key: &str) -> Option<u64> {
    match documents.lookup(key) {
        Lookup::Hot(sums) => Some(sums.events),
        Lookup::Absent | Lookup::Cold => None,
    }
}

fn handed_out(documents: &mut Documents<Sums>) -> Vec<String> {
    let HandedOut { documents, deleted, unstorable } = documents.hand_out();
    assert_eq!(unstorable, []);
    let documents = documents.into_iter().map(|(key, json)| format!("{key} {json}"));
    documents.chain(deleted.into_iter().map(|key| format!("{key} deleted"))).collect()
}

#[test]
fn a_document_that_changes_while_it_is_saved_is_saved_again() {
    let mut documents = Documents::<Sums>::new(1, true);
    bump(&mut documents, "a");
    assert_eq!(handed_out(&mut documents), [r#"a {"sum":0,"events":1}"#]);
    bump(&mut documents, "a");
    documents.saved();
    bump(&mut documents, "b");
    for clean in ["c", "d", "e"] {
        documents.warm(clean.to_owned(), || Ok(Sums::default()));
    }
    documents.evict();
    assert_eq!(documents.evictions(), 3);
    assert_eq!(events(&mut documents, "a"), Some(2));
    let again = handed_out(&mut documents);
    assert_eq!(again, [r#"a {"sum":0,"events":2}"#, r#"b {"sum":0,"events":1}"#]);
}

#[test]
fn a_document_is_sampled_after_a_change_and_as_long_as_samples_are_cheap() {
    let mut documents = Documents::<Sums>::new(9, true);
    assert_eq!(documents.sample(30), None);
    bump(&mut documents, "a");
    assert_eq!((documents.sample(30), documents.sample(30)), (Some(20), None));
    bump(&mut documents, "a");
    assert_eq!(documents.sample(30), Some(20));
    bump(&mut documents, "b");
    assert_eq!(documents.sample(30), None, "40 bytes were serialised, and none is saved yet");
    handed_out(&mut documents);
    bump(&mut documents, "b");
    assert_eq!(documents.sample(30), Some(20));
}

#[test]
fn only_what_is_saved_leaves_memory_and_the_longest_unused_first() {
    let mut documents = Documents::<Sums>::new(2, true);
    for key in ["a", "b", "c", "d"] {
        bump(&mut documents, key);
    }
    documents.evict();
    assert_eq!(documents.evictions(), 0);
    handed_out(&mut documents);
    documents.evict();
    assert_eq!(documents.evictions(), 0);
    documents.saved();
    events(&mut documents, "a");
    documents.evict();
    let hot = ["a", "b", "c", "d"].map(|key| events(&mut documents, key).is_some());
    assert_eq!((hot, documents.unsaved()), ([true, false, false, true], 0));
}

#[test]
fn an_absent_key_is_known_to_be_absent_until_something_has_left_memory() {
    let mut documents = Documents::<Sums>::new(1, true);
    assert!(!documents.is_cold("a") && matches!(documents.lookup("a"), Lookup::Absent));
    for key in ["a", "b"] {
        bump(&mut documents, key);
    }
    handed_out(&mut documents);
    documents.saved();
    documents.evict();
    assert!(documents.is_cold("a") && matches!(documents.lookup("c"), Lookup::Cold));
    documents.warm("a".to_owned(), || Ok(Sums { sum: 7, events: 7 }));
    documents.warm("a".to_owned(), || Ok(Sums { sum: 8, events: 8 }));
    assert_eq!(events(&mut documents, "a"), Some(7));
}

#[test]
fn a_deleted_document_stays_known_as_absent_until_the_store_has_deleted_it() {
    let mut documents = Documents::<Sums>::new(1, false);
    documents.warm("a".to_owned(), || Ok(Sums::default()));
    documents.put_changed("a", GlobalPosition(1), Isolated::new(None));
    assert!(matches!(documents.lookup("a"), Lookup::Absent));
    documents.warm("b".to_owned(), || Ok(Sums::default()));
    documents.evict();
    assert!(!documents.is_cold("a"), "the store still has it");
    assert_eq!(handed_out(&mut documents), ["a deleted"]);
    documents.saved();
    bump(&mut documents, "a");
    assert_eq!(handed_out(&mut documents), [r#"a {"sum":0,"events":1}"#], "from the default");
}
