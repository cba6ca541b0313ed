//! Reads: waiting, timing out, loading, too many.

use super::*;

#[tokio::test]
async fn a_read_waits_for_its_position_and_says_so_when_the_time_is_over() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    note(&store.memory, "a", 1).await;
    read(&model, "a", 1).await;
    let late = model.read("a", GlobalPosition(2), AT_ONCE).await;
    let Err(ReadError::NotYet { wanted, reached, .. }) = late else { panic!("{late:?}") };
    assert_eq!((wanted.0, reached.0), (2, 1));
    let (document, ()) = tokio::join!(read(&model, "a", 2), note(&store.memory, "a", 5));
    assert_eq!((document.events, document.position.0), (2, 2));
}

#[tokio::test]
async fn nothing_is_answered_before_the_head_at_start_is_reached() {
    let memory = MemoryStore::new();
    for n in 0..20 {
        note(&memory, "a", n).await;
    }
    let gate = Arc::new(Semaphore::new(1));
    let entered = Arc::clone(&gate);
    let store = TestStore::over(memory, move |call| {
        let gate = Arc::clone(&entered);
        Box::pin(async move {
            if let Call::ReadAll(_) = call {
                gate.acquire().await.unwrap().forget();
            }
            Ok(())
        })
    });
    let process = Process::new(store, small());
    let model = process.sums().await;
    until(|| model.progress().applied.0 > 0).await;
    assert_eq!(model.progress().state, State::CatchingUp);
    let early = model.read("a", GlobalPosition::ZERO, AT_ONCE).await;
    assert!(matches!(early, Err(ReadError::NotYet { .. })), "{early:?}");
    gate.add_permits(1_000);
    assert_eq!(read(&model, "a", 0).await.events, 20);
    assert_eq!(model.progress().state, State::Live);
}

#[tokio::test]
async fn reads_beyond_the_limit_are_refused_at_once_and_abandoned_ones_make_room() {
    let store = obliging();
    let process = Process::new(store.clone(), Pacing { waiting_reads: 3, ..small() });
    let model = process.sums().await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let model = model.clone();
        waiting.spawn(async move { model.read("a", GlobalPosition(1), WITHIN).await });
    }
    let refused = loop {
        match model.read("a", GlobalPosition(1), AT_ONCE).await {
            Err(ReadError::NotYet { .. }) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(refused, Err(ReadError::Overloaded("sums"))), "{refused:?}");
    waiting.abort_all();
    note(&store.memory, "a", 1).await;
    while let Err(ReadError::Overloaded(_)) = model.read("a", GlobalPosition(1), WITHIN).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn documents_that_left_memory_are_read_from_the_store_in_few_calls() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let store = TestStore::new(move |call| {
        let is_load = matches!(call, Call::LoadDocuments(_));
        counted.fetch_add(usize::from(is_load), Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    for n in 0..300 {
        note(&store.memory, &n.to_string(), n).await;
    }
    until(|| model.progress().saved.0 == 300).await;
    let before = loads.load(Ordering::Relaxed);
    let mut reads = tokio::task::JoinSet::new();
    for n in 0..310_u64 {
        let model = model.clone();
        reads.spawn(
            async move { (n, model.read(&n.to_string(), GlobalPosition::ZERO, WITHIN).await) },
        );
    }
    for (n, result) in reads.join_all().await {
        match result {
            Ok(document) => assert_eq!(document.body, expected(&[n])),
            Err(ReadError::NotFound { .. }) => assert!(n >= 300, "{n} was not found"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(loads.load(Ordering::Relaxed) - before < 300);
}

#[tokio::test]
async fn a_document_loaded_for_a_read_never_replaces_what_was_folded_meanwhile() {
    let gate = Arc::new(Semaphore::new(1_000));
    let is_held = Arc::new(AtomicBool::new(false));
    let (entered, hold) = (Arc::clone(&gate), Arc::clone(&is_held));
    let store = TestStore::new(move |call| {
        // The first load after `hold` was set stays on its way; what comes later does not.
        let is_held = call == Call::Loaded && hold.swap(false, Ordering::SeqCst);
        let gate = Arc::clone(&entered);
        Box::pin(async move {
            if is_held {
                gate.acquire().await.unwrap().forget();
            }
            Ok(())
        })
    });
    let one_hot = Pacing { hot_documents: 1, ..small() };
    let process = Process::new(store.clone(), one_hot);
    let model = process.sums().await;
    note(&store.memory, "a", 1).await;
    note(&store.memory, "b", 2).await;
    until(|| model.progress().saved.0 == 2).await;
    let keep = gate.acquire_many(1_000).await.unwrap();
    is_held.store(true, Ordering::SeqCst);
    let reading = {
        let model = model.clone();
        tokio::spawn(async move { read(&model, "a", 0).await })
    };
    until(|| !is_held.load(Ordering::SeqCst)).await;
    note(&store.memory, "a", 3).await;
    note(&store.memory, "c", 4).await;
    until(|| model.progress().saved.0 == 4).await;
    drop(keep);
    let late = reading.await.unwrap();
    assert_eq!((late.body, late.position.0), (expected(&[1]), 2));
    note(&store.memory, "a", 5).await;
    assert_eq!(read(&model, "a", 5).await.body, expected(&[1, 3, 5]));
}
