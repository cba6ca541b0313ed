//! Hints between processes: who has committed says so, who follows the log hears it.
//!
//! A hint is sent after the commit, on a connection of its own, and may be lost; whoever waits for
//! it also looks for itself now and then. The listener is also what notices that the database
//! cannot be reached, and that it can again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{PgPool, Row};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connections::{Connections, Lane, run};
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

/// Starts to listen and to tell, until the connections are gone.
pub(super) fn start(opening: &Arc<Opening>, connections: &Connections) {
    let heard = Arc::new(AtomicU64::new(opening.head.borrow().0));
    let pool = connections.pool(Lane::Signals).clone();
    let listening = listen(Arc::clone(opening), pool.clone(), Arc::clone(&heard));
    connections.runtime().spawn(listening);
    connections.runtime().spawn(tell(Arc::clone(opening), pool, heard));
}

/// Tells others of every head that nobody told us.
async fn tell(opening: Arc<Opening>, pool: PgPool, heard: Arc<AtomicU64>) {
    let mut head = opening.head.subscribe();
    while head.changed().await.is_ok() {
        let head = head.borrow_and_update().0;
        if head <= heard.load(Ordering::Relaxed) {
            continue;
        }
        // Its commit is nothing that has to survive.
        let told = run(&opening, &pool, || {
            sqlx::query("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(head.to_string())
        });
        if let Err(fault) = told.await {
            let reason = fault.explain(&opening.place);
            tracing::debug!(%reason, "a hint was not sent; others will look for themselves");
        }
        sleep(PAUSE).await;
    }
}

/// Listens, and begins anew whenever the connection is lost.
async fn listen(opening: Arc<Opening>, pool: PgPool, heard: Arc<AtomicU64>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let reason = match connect(&opening, &pool).await {
            Ok(mut listener) => {
                if opening.trouble.send_replace(None).is_some() {
                    info!(place = %opening.place, "the database can be reached again");
                }
                pause = FIRST_PAUSE;
                // What was committed meanwhile had its hint, and nobody to hear it.
                catch_up(&opening, &pool).await;
                hear(&opening, &pool, &mut listener, &heard).await
            }
            Err(reason) => reason,
        };
        if opening.trouble.is_closed() {
            return;
        }
        if opening.trouble.send_replace(Some(reason.clone())).is_none() {
            warn!(place = %opening.place, %reason, "the database cannot be reached; trying again");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(opening: &Opening, pool: &PgPool) -> Result<PgListener, String> {
    let connecting = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let within = opening.options.answer_within;
    let reason = match timeout(within, connecting).await {
        Ok(Ok(listener)) => return Ok(listener),
        Ok(Err(error)) => describe(&error),
        Err(_) => format!("no answer within {within:?}"),
    };
    // The pool keeps its reasons to itself.
    Err(opening.connect().await.err().map_or(reason, |refused| refused.to_string()))
}

/// Looks where the log ends.
async fn catch_up(opening: &Opening, pool: &PgPool) -> Option<GlobalPosition> {
    let head = || sqlx::query("SELECT coalesce(max(position), 0) FROM actum.events");
    let rows = run(opening, pool, head).await.ok()?;
    let head = GlobalPosition(rows.first()?.get::<i64, _>(0) as u64);
    raise(&opening.head, head);
    Some(head)
}

/// Hears until the connection is lost; the answer is why.
async fn hear(
    opening: &Opening,
    pool: &PgPool,
    listener: &mut PgListener,
    heard: &AtomicU64,
) -> String {
    let within = opening.options.answer_within;
    loop {
        match timeout(HEARTBEAT, listener.try_recv()).await {
            Ok(Ok(Some(hint))) => {
                let known = *opening.head.borrow();
                let Ok(hinted) = hint.payload().parse().map(GlobalPosition) else { continue };
                // Anybody may send a hint: it is a reason to look, no more.
                let head = if hinted > known { catch_up(opening, pool).await } else { Some(known) };
                if let Some(head) = head {
                    heard.fetch_max(hinted.min(head).0, Ordering::Relaxed);
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
