//! The name of the program whose log it is, on stores that need no server; `postgres/schemas.rs` has
//! the others.

use actum::store::{MemoryStore, SqliteStore, Store};
use actum::{Application, StartError};

use crate::support::counter::Counter;
use crate::support::directory::Directory;

async fn start(store: impl Store, name: &str) -> Result<Application, StartError> {
    Application::builder(store).name(name).aggregate::<Counter>().start().await
}

#[tokio::test]
async fn a_log_keeps_the_name_of_the_first_program_and_refuses_another() {
    let store = MemoryStore::new();
    let bank = start(store.clone(), "bank").await.unwrap();
    let refused = start(store.clone(), "shop").await.err().expect("the shop is refused");
    assert!(matches!(&refused, StartError::OtherProgram { name, found }
        if name == "shop" && found == "bank"));
    start(store, "bank").await.unwrap().shutdown().await;
    bank.shutdown().await;
}

/// Also over a restart, and without a name: then the executable's counts.
#[tokio::test]
async fn a_file_keeps_the_name_of_its_program_over_a_restart() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let open = async || SqliteStore::open(&path).await.unwrap();
    start(open().await, "bank").await.unwrap().shutdown().await;
    for name in ["Bank", "shop", ""] {
        let refused = start(open().await, name).await.err().expect("another name is refused");
        assert!(refused.to_string().contains("belongs to the program \"bank\""), "{refused}");
    }
    let unnamed = Application::builder(open().await).aggregate::<Counter>().start().await;
    assert!(matches!(unnamed, Err(StartError::OtherProgram { .. })));
    start(open().await, "bank").await.unwrap().shutdown().await;
}
