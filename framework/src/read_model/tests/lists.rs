//! Lists that wait: a page is read when it can be answered, and not to find out whether it can.

use super::*;
use crate::store::contract::DocumentRange;

#[tokio::test]
async fn a_list_that_waits_for_a_save_reads_a_page_before_and_one_after_it() {
    let (lists, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, entered) = (Arc::clone(&lists), Arc::clone(&gate));
    let store = TestStore::new(move |call| {
        let (counted, gate) = (Arc::clone(&counted), Arc::clone(&entered));
        Box::pin(async move {
            match call {
                Call::ListDocuments => _ = counted.fetch_add(1, Ordering::Relaxed),
                Call::Save(_) => drop(gate.acquire().await.unwrap()),
                _ => {}
            }
            Ok(())
        })
    });
    let process = Process::new(store.clone(), patient());
    let model = process.sums().await;
    note(&store.memory, "a", 1).await;
    read(&model, "a", 1).await;
    lists.store(0, Ordering::Relaxed); // the start has looked at the first page
    let range = DocumentRange::default();
    let list = model.list(&*process.store, &range, GlobalPosition(1), WITHIN);
    let open = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(lists.load(Ordering::Relaxed), 1, "pages are read while the save is under way");
        gate.add_permits(1);
    };
    let (page, ()) = tokio::join!(list, open);
    assert_eq!(page.unwrap().documents, [("a".to_owned(), expected(&[1]))]);
    assert_eq!(lists.load(Ordering::Relaxed), 2);
}
