//! Hints between processes: who has committed says so, who follows the log hears it.
//!
//! A hint is sent after the commit, on a connection of its own, and may be lost; whoever waits for
//! it also looks for itself now and then. The listener is also what notices that the database
//! cannot be reached, and that it can again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connections::{Connections, Lane};
use super::fault::describe;
use super::open::Opening;
use crate::store::committer::raise;
use crate::stream::GlobalPosition;

const CHANNEL: &str = "actum";

/// At most one hint in this time: many commits need one.
const PAUSE: Duration = Duration::from_millis(2);

/// A listener that has heard nothing for so long asks whether the server is still there.
const HEARTBEAT: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why the database cannot be reached, if it cannot.
pub(super) type Reachable = watch::Receiver<Option<String>>;

/// Starts to listen and to tell, until the connections are gone.
pub(super) fn start(opening: &Arc<Opening>, connections: &Connections) -> Reachable {
    let heard = Arc::new(AtomicU64::new(opening.head.borrow().0));
    let (report, reachable) = watch::channel(None);
    let pool = connections.pool(Lane::Signals).clone();
    let listening = listen(Arc::clone(opening), pool.clone(), Arc::clone(&heard), report);
    connections.runtime().spawn(listening);
    connections.runtime().spawn(tell(opening.head.subscribe(), pool, heard));
    reachable
}

/// Tells others of every head that nobody told us.
async fn tell(mut head: watch::Receiver<GlobalPosition>, pool: PgPool, heard: Arc<AtomicU64>) {
    while head.changed().await.is_ok() {
        let head = head.borrow_and_update().0;
        if head <= heard.load(Ordering::Relaxed) {
            continue;
        }
        // Its commit is nothing that has to survive.
        let told =
            sqlx::query("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)");
        if let Err(error) = told.bind(CHANNEL).bind(head.to_string()).execute(&pool).await {
            tracing::debug!(%error, "a hint was not sent; others will look for themselves");
        }
        sleep(PAUSE).await;
    }
}

/// Listens, and begins anew whenever the connection is lost.
async fn listen(
    opening: Arc<Opening>,
    pool: PgPool,
    heard: Arc<AtomicU64>,
    report: watch::Sender<Option<String>>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let within = opening.options.answer_within;
        let reason = match connect(&pool, within).await {
            Ok(mut listener) => {
                if report.send_replace(None).is_some() {
                    info!(place = %opening.place, "the database can be reached again");
                }
                pause = FIRST_PAUSE;
                // What was committed meanwhile had its hint, and nobody to hear it.
                catch_up(&opening, &pool).await;
                hear(&opening, &mut listener, &heard).await
            }
            Err(reason) => reason,
        };
        if report.is_closed() {
            return;
        }
        if report.send_replace(Some(reason.clone())).is_none() {
            warn!(place = %opening.place, %reason, "the database cannot be reached; trying again");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(pool: &PgPool, within: Duration) -> Result<PgListener, String> {
    let connecting = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    match timeout(within, connecting).await {
        Ok(connected) => connected.map_err(|error| describe(&error)),
        Err(_) => Err(format!("no answer within {within:?}")),
    }
}

async fn catch_up(opening: &Opening, pool: &PgPool) {
    let head = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM actum.events");
    if let Ok(head) = head.fetch_one(pool).await {
        let head: i64 = head;
        raise(&opening.head, GlobalPosition(head as u64));
    }
}

/// Hears until the connection is lost; the answer is why.
async fn hear(opening: &Opening, listener: &mut PgListener, heard: &AtomicU64) -> String {
    let within = opening.options.answer_within;
    loop {
        match timeout(HEARTBEAT, listener.try_recv()).await {
            Ok(Ok(Some(hint))) => {
                if let Ok(position) = hint.payload().parse() {
                    heard.fetch_max(position, Ordering::Relaxed);
                    raise(&opening.head, GlobalPosition(position));
                }
            }
            Ok(Ok(None)) => return "the connection was lost".into(),
            Ok(Err(error)) => return describe(&error),
            Err(_) => {
                let beat = sqlx::query("SELECT 1").execute(&mut *listener);
                match timeout(within, beat).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return describe(&error),
                    Err(_) => return format!("no answer within {within:?}"),
                }
            }
        }
    }
}
