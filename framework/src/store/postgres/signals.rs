//! Hints between processes: who has committed says so, who follows the log hears it.
//!
//! A hint is sent after the commit, on a connection of its own, and may be lost; whoever waits for
//! it also looks for itself now and then. The listener is also what notices that the database
//! cannot be reached, and that it can again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use super::connections::{Connections, Purpose, Statement};
use super::events::{HEAD, last_event};
use super::fault::{Fault, describe};
use super::lane::Lane;
use super::open::Opening;
use crate::event::GlobalPosition;
use crate::store::kit::group_commit::raise;

/// At most one hint in this time: many commits need one.
const PAUSE: Duration = Duration::from_millis(5);

/// Time between two comparisons of the log's history, which also check that the server replies.
const HEARTBEAT: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Starts to listen and to tell, until the connections are gone.
pub(super) fn start(opening: &Arc<Opening>, connections: &Connections) {
    let heard = Arc::new(AtomicU64::new(opening.head.borrow().0));
    let signals = Signals { opening: Arc::clone(opening), lanes: connections.lanes(), heard };
    connections.runtime().spawn(signals.clone().listen());
    connections.runtime().spawn(signals.tell());
}

#[derive(Clone)]
struct Signals {
    opening: Arc<Opening>,
    lanes: Arc<[Lane; 4]>,
    /// The last head that somebody told us.
    heard: Arc<AtomicU64>,
}

impl Signals {
    /// Tells others of every head that nobody told us.
    async fn tell(self) {
        let mut head = self.opening.head.subscribe();
        while head.changed().await.is_ok() {
            let head = head.borrow_and_update().0;
            if head <= self.heard.load(Ordering::Relaxed) {
                continue;
            }
            // Its commit is nothing that has to survive.
            let channel = self.opening.schema.channel().to_owned();
            let told = self.rows(move || {
                sqlx::query(
                    "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)",
                )
                .bind(channel.clone())
                .bind(head.to_string())
            });
            if let Err(fault) = told.await {
                let reason = fault.explain(&self.opening.place);
                tracing::debug!(%reason, "a hint was not sent; others will look for themselves");
            }
            sleep(PAUSE).await;
        }
    }

    /// Listens, and begins anew whenever the connection is lost.
    async fn listen(self) {
        let (pool, mut pause) = (pool(&self.opening), FIRST_PAUSE);
        let Opening { trouble, place, .. } = &*self.opening;
        loop {
            let reason = match self.connect(&pool).await {
                Ok(mut listener) => {
                    if trouble.send_replace(None).is_some() {
                        info!(%place, "the database can be reached again");
                    }
                    pause = FIRST_PAUSE;
                    // What was committed meanwhile had its hint, and nobody to hear it.
                    self.catch_up().await;
                    self.hear(&mut listener).await
                }
                Err(reason) => reason,
            };
            if trouble.is_closed() {
                return;
            }
            if let Some(reason) = self.opening.history.lost() {
                error!(%place, %reason, "the log is not the one this process knows: it reads and writes nothing any more");
                trouble.send_replace(Some(reason));
                return;
            }
            if trouble.send_replace(Some(reason.clone())).is_none() {
                warn!(%place, %reason, "the database cannot be reached; trying again");
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&self, pool: &PgPool) -> Result<PgListener, String> {
        let connecting = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.eager_reconnect(false);
            listener.listen(self.opening.schema.channel()).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let within = self.opening.options.answer_within;
        let reason = match timeout(within, connecting).await {
            Ok(Ok(listener)) => return Ok(listener),
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {within:?}"),
        };
        // The pool keeps its reasons to itself.
        Err(self.opening.connect().await.err().map_or(reason, |refused| refused.to_string()))
    }

    /// Looks where the log ends.
    async fn catch_up(&self) -> Option<GlobalPosition> {
        let history = &self.opening.history;
        let known = history.known();
        let rows = self.rows(|| known.bind(sqlx::query(HEAD))).await.ok()?;
        if !rows.first()?.try_get::<bool, _>("is_same_history").ok()? {
            self.opening.lost().await;
            return None;
        }
        let last = last_event(&rows).ok()?;
        history.learn(&known, last);
        let head = last.map(|last| last.position).unwrap_or_default();
        raise(&self.opening.head, head);
        Some(head)
    }

    /// Hears until the connection is lost; the answer is why.
    async fn hear(&self, listener: &mut PgListener) -> String {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                // Before the hints, because they may come without a pause.
                biased;
                _ = heartbeat.tick() => match self.compare(listener).await {
                    Ok(()) => continue,
                    Err(reason) => return reason,
                },
                heard = listener.try_recv() => heard,
            };
            match heard {
                Ok(Some(hint)) => {
                    let known = *self.opening.head.borrow();
                    let Ok(hinted) = hint.payload().parse().map(GlobalPosition) else { continue };
                    // A hint below the known head may be late, or of a log that was rewound: it must not
                    // put the comparison off.
                    if hinted >= known {
                        heartbeat.reset();
                    }
                    // Anybody may send a hint: it is a reason to look, no more.
                    let head = if hinted > known { self.catch_up().await } else { Some(known) };
                    if let Some(head) = head {
                        self.heard.fetch_max(hinted.min(head).0, Ordering::Relaxed);
                    }
                }
                Ok(None) => return "the connection was lost".into(),
                Err(error) => return describe(&error),
            }
        }
    }

    /// Compares the log with the history that this process knows. A log may be restored under
    /// sessions that live on, and hints of a shorter log look like late ones.
    ///
    /// # Errors
    /// The reason for which this session is of no more use.
    async fn compare(&self, listener: &mut PgListener) -> Result<(), String> {
        let within = self.opening.options.answer_within;
        let beat = sqlx::query("SELECT is_same_history($1, $2, $3, $4)");
        let beat = self.opening.history.known().bind(beat).fetch_one(listener);
        match timeout(within, beat).await {
            Ok(Ok(row)) if row.get(0) => Ok(()),
            Ok(Ok(_)) => Err(self.opening.lost().await),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err(format!("no answer within {within:?}")),
        }
    }

    async fn rows(&self, statement: impl Fn() -> Statement) -> Result<Vec<PgRow>, Fault> {
        self.lanes[Purpose::Signals as usize]
            .rows(&self.opening, statement)
            .await
            .map(|(rows, _)| rows)
    }
}

/// The listener's connection; the driver's listener takes it from a pool alone.
fn pool(opening: &Arc<Opening>) -> PgPool {
    let checking = Arc::clone(opening);
    PgPoolOptions::new()
        // One that fell silent keeps its place until its socket gives up.
        .max_connections(16)
        .acquire_timeout(opening.options.connect_within)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let opening = Arc::clone(&checking);
            Box::pin(async move {
                let checked = opening.check(connection).await;
                checked.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
            })
        })
        .connect_lazy_with(opening.connect.clone())
}
