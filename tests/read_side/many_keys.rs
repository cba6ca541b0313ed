//! Events that feed several documents, documents that are deleted, and lists of those there are: on
//! every store, across restarts, and where another process owns the read model.

use std::time::Duration;

use actum::store::{MemoryStore, PostgresStore, Store};
use actum::{
    Aggregate, Application, DocumentRange, EventEnvelope, Fold, GlobalPosition, ReadError,
    ReadModel, Settings, Sources,
};
use serde::{Deserialize, Serialize};

use crate::support::place::{on_every_store, run};
use crate::support::waiting::poll;

#[derive(Debug, Default, Clone)]
struct Order;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Placed {
        lines: Vec<(String, i64)>,
    },
    /// The articles are sold no more.
    Ended {
        articles: Vec<String>,
    },
}
use OrderEvent::{Ended, Placed};

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderEvent;
    type Event = OrderEvent;
    type Error = std::convert::Infallible;

    fn handle(&self, event: OrderEvent) -> Result<Vec<OrderEvent>, Self::Error> {
        Ok(vec![event])
    }

    fn apply(&mut self, _: &OrderEvent) {}
}

/// Pieces sold of one article, in the order of the orders. An odd number of pieces panics for "odd".
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Sold<const MENDED: bool> {
    pieces: Vec<i64>,
    #[serde(skip)]
    is_ended: bool,
}

impl<const MENDED: bool> ReadModel for Sold<MENDED> {
    const NAME: &'static str = "sold";
    const PARTITIONS: u32 = 3;

    fn sources() -> Sources<Self> {
        Sources::by::<Order>(|event| match &event.event {
            Placed { lines } => lines.iter().map(|(article, _)| article.clone()).collect(),
            Ended { articles } => articles.clone(),
        })
    }

    fn is_deleted(&self) -> bool {
        self.is_ended
    }
}

impl<const MENDED: bool> Fold<Order> for Sold<MENDED> {
    fn apply(&mut self, event: &EventEnvelope<OrderEvent>) {
        match &event.event {
            Placed { lines } => {
                for (_, pieces) in lines.iter().filter(|(article, _)| article == event.key()) {
                    assert!(MENDED || event.key() != "odd" || pieces % 2 == 0, "{pieces} is odd");
                    self.pieces.push(*pieces);
                }
            }
            Ended { .. } => self.is_ended = true,
        }
    }
}

async fn start<const MENDED: bool>(store: impl Store) -> Application {
    let settings = Settings { read_within: Duration::from_secs(30), ..Settings::default() };
    let builder = Application::builder(store).aggregate::<Order>().read_model::<Sold<MENDED>>();
    builder.settings(settings).start().await.unwrap()
}

async fn place(app: &Application, lines: &[(&str, i64)]) -> GlobalPosition {
    let lines = lines.iter().map(|(article, n)| ((*article).to_owned(), *n)).collect();
    app.execute::<Order>("1", Placed { lines }).await.unwrap().position
}

async fn end(app: &Application, articles: &[&str]) -> GlobalPosition {
    let articles = articles.iter().map(|article| (*article).to_owned()).collect();
    app.execute::<Order>("1", Ended { articles }).await.unwrap().position
}

async fn sold(app: &Application, article: &str, after: GlobalPosition) -> Option<Vec<i64>> {
    match app.read::<Sold<false>>(article).after(after).await {
        Ok(document) => Some(document.body.pieces),
        Err(ReadError::NotFound { .. }) => None,
        Err(error) => panic!("{article}: {error}"),
    }
}

/// All documents with this prefix, page by page.
async fn list(
    app: &Application,
    prefix: &str,
    limit: usize,
    after: GlobalPosition,
) -> (Vec<(String, Vec<i64>)>, Vec<String>) {
    let (mut documents, mut parked) = (Vec::new(), Vec::new());
    let mut range = DocumentRange { prefix: prefix.into(), after: None, limit };
    loop {
        let page = app.list::<Sold<false>>(&range).after(after).await.unwrap();
        assert!(page.position >= after && page.documents.len() <= limit);
        documents.extend(page.documents.into_iter().map(|(key, sold)| (key, sold.pieces)));
        parked.extend(page.parked);
        match page.next {
            Some(next) => range.after = Some(next),
            None => return (documents, parked),
        }
    }
}

fn listed(documents: &[(&str, &[i64])]) -> Vec<(String, Vec<i64>)> {
    documents.iter().map(|(key, pieces)| ((*key).to_owned(), pieces.to_vec())).collect()
}

async fn an_event_feeds_each_of_its_documents_once(store: impl Store + Clone) {
    let app = start::<false>(store.clone()).await;
    place(&app, &[("tea", 1), ("cup", 2), ("tea", 3), ("teapot", 4)]).await;
    place(&app, &[]).await;
    let last = place(&app, &[("cup", 5)]).await;
    fed(&app, last).await;
    app.shutdown().await;
    let app = start::<false>(store).await;
    fed(&app, last).await;
    app.shutdown().await;
}

async fn fed(app: &Application, last: GlobalPosition) {
    assert_eq!(sold(app, "tea", last).await, Some(vec![1, 3]));
    assert_eq!(sold(app, "cup", last).await, Some(vec![2, 5]));
    let all = listed(&[("cup", &[2, 5]), ("tea", &[1, 3]), ("teapot", &[4])]);
    for limit in [1, 2, 100] {
        assert_eq!(list(app, "", limit, last).await.0, all);
        assert_eq!(list(app, "tea", limit, last).await.0, all[1..]);
    }
}

async fn a_deleted_document_is_gone_and_begins_anew(store: impl Store + Clone) {
    let app = start::<false>(store.clone()).await;
    place(&app, &[("tea", 1), ("cup", 2)]).await;
    let mut live = app.watch::<Sold<false>>("tea").unwrap();
    let seen = live.next().await.unwrap().unwrap();
    assert_eq!(seen.body.pieces, [1]);
    let ended = end(&app, &["tea", "never sold"]).await;
    assert_eq!(sold(&app, "tea", ended).await, None);
    let gone = live.next().await;
    assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
    assert_eq!(list(&app, "", 9, ended).await.0, listed(&[("cup", &[2])]));
    app.shutdown().await;
    let app = start::<false>(store.clone()).await;
    assert_eq!(sold(&app, "tea", ended).await, None, "after a restart");
    place(&app, &[("tea", 7)]).await;
    let last = end(&app, &["cup"]).await;
    assert_eq!(sold(&app, "tea", last).await, Some(vec![7]), "from the default");
    assert_eq!(list(&app, "", 9, last).await.0, listed(&[("tea", &[7])]));
    let stored =
        store.list_documents("sold@1", &actum::DocumentRange::default()).await.unwrap().documents;
    assert_eq!(stored, [("tea".to_owned(), r#"{"pieces":[7]}"#.to_owned())]);
    app.shutdown().await;
}

async fn of_several_documents_only_the_one_that_fails_is_parked(store: impl Store + Clone) {
    let app = start::<false>(store.clone()).await;
    place(&app, &[("odd", 2), ("tea", 1)]).await;
    let poison = place(&app, &[("tea", 3), ("odd", 3), ("cup", 3)]).await;
    let last = place(&app, &[("cup", 4), ("odd", 4), ("tea", 4)]).await;
    assert_eq!(sold(&app, "tea", last).await, Some(vec![1, 3, 4]));
    assert_eq!(sold(&app, "cup", last).await, Some(vec![3, 4]));
    let odd = app.read::<Sold<false>>("odd").after(last).await;
    assert!(
        matches!(odd, Err(ReadError::Parked { position, .. }) if position == poison),
        "{odd:?}"
    );
    let (documents, parked) = list(&app, "", 1, last).await;
    assert_eq!(documents, listed(&[("cup", &[3, 4]), ("tea", &[1, 3, 4])]));
    assert_eq!(parked, ["odd"]);
    app.shutdown().await;
    // With the code mended, what waits is applied to the one document and to no other.
    let app = start::<true>(store).await;
    let mended = poll(Duration::from_secs(30), async || {
        match app.read::<Sold<true>>("odd").after(last).await {
            Ok(document) => Ok(document.body.pieces),
            Err(parked @ ReadError::Parked { .. }) => Err(parked),
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    assert_eq!(mended, [2, 3, 4]);
    let tea = app.read::<Sold<true>>("tea").after(last).await.unwrap();
    assert_eq!(tea.body.pieces, [1, 3, 4]);
    app.shutdown().await;
}

on_every_store!(
    an_event_feeds_each_of_its_documents_once,
    a_deleted_document_is_gone_and_begins_anew,
    of_several_documents_only_the_one_that_fails_is_parked,
);

/// Two processes share the partitions, so each is a standby of some.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn every_process_lists_all_documents_and_sees_them_deleted() {
    let database = crate::support::postgres::database().await;
    let test = async {
        let one = start::<false>(PostgresStore::open(&database.url()).await.unwrap()).await;
        let two = start::<false>(PostgresStore::open(&database.url()).await.unwrap()).await;
        place(&one, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]).await;
        let last = end(&two, &["b", "d"]).await;
        for app in [&one, &two] {
            assert_eq!(list(app, "", 1, last).await.0, listed(&[("a", &[1]), ("c", &[3])]));
            assert_eq!(sold(app, "b", last).await, None);
        }
        let last = place(&two, &[("d", 5)]).await;
        for app in [&two, &one] {
            assert_eq!(list(app, "d", 9, last).await.0, listed(&[("d", &[5])]));
        }
        one.shutdown().await;
        two.shutdown().await;
    };
    run(test).await;
}

/// Clients choose the number of lines of an order.
#[tokio::test]
async fn an_order_with_too_many_lines_stops_no_other_article() {
    let app = start::<false>(MemoryStore::new()).await;
    let lines: Vec<_> = (0..1_001).map(|n| ("bolt", n)).collect();
    let head = place(&app, &lines).await;
    assert_eq!(sold(&app, "bolt", head).await.map(|pieces| pieces.len()), Some(1_001));
    let articles: Vec<_> = (0..1_001).map(|n| format!("article {n}")).collect();
    let lines: Vec<_> = articles.iter().map(|article| (&**article, 1)).collect();
    place(&app, &lines).await;
    let head = place(&app, &[("article 0", 2), ("nut", 3)]).await;
    assert_eq!(sold(&app, "article 0", head).await, Some(vec![2]));
    assert_eq!(sold(&app, "nut", head).await, Some(vec![3]));
    let (_, keys) = list(&app, "", 100, head).await; // the owner has saved then
    assert_eq!(keys, ["1"]);
    let parked = app.operations().parked("sold").await.unwrap();
    let [parked] = &parked[..] else { panic!("{parked:?}") };
    assert_eq!((&*parked.key, parked.position.0), ("1", head.0 - 1));
    assert!(parked.reason.contains("more than 1000 keys"), "{}", parked.reason);
    app.shutdown().await;
}

#[tokio::test]
async fn a_list_after_a_position_that_the_log_does_not_have_is_refused_at_once() {
    let app = start::<false>(MemoryStore::new()).await;
    let head = place(&app, &[("nut", 1)]).await;
    for ahead in [head.0 + 1, u64::MAX] {
        let range = DocumentRange::default();
        let refused = app.list::<Sold<false>>(&range).after(GlobalPosition(ahead)).await;
        let Err(ReadError::NotYet { waited, wanted, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((waited, wanted.0), (Duration::ZERO, ahead));
    }
    app.shutdown().await;
}
