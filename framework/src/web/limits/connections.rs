//! Connection limits of the public listener, per client.
//!
//! actix only limits the time of the head of a connection's first request, so a connection that is
//! kept alive could be held open forever by half a head. So a client may keep connections alive
//! only while it has less than an eighth of the free ones. Beyond that, each response closes its
//! connection. A full listener is reported in the log.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use super::client::Client;
use super::streams::{Place, Places, share};
use crate::web::problem::Problem;

/// Divisor of the free connections: a client may keep an eighth of them alive.
const PART_KEPT_ALIVE: usize = 8;

/// Minimum interval between two reports of a full listener.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The connections of the public listener, shared by all workers.
#[derive(Clone)]
pub(crate) struct Connections {
    total: usize,
    places: Places,
    open: Arc<AtomicUsize>,
    reported: Arc<Mutex<Option<Instant>>>,
}

/// Data of a connection, stored for its lifetime. The place is taken at the first request, because
/// the peer's address is unknown before.
pub(crate) struct Held {
    connections: Connections,
    place: OnceCell<Option<Place>>,
}

impl Connections {
    /// Creates a limit of `total` connections, and `each` per client.
    pub(crate) fn new(total: usize, each: usize) -> Self {
        let places = Places::new(usize::MAX, each, 1);
        Self { total, places, open: Arc::default(), reported: Arc::default() }
    }

    /// Counts a new connection. Call it in `HttpServer::on_connect`.
    pub(crate) fn opened(&self, connection: &mut Extensions) {
        if self.open.fetch_add(1, Ordering::Relaxed) + 1 >= self.total {
            self.report_full();
        }
        connection.insert(Held { connections: self.clone(), place: OnceCell::new() });
    }

    fn report_full(&self) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            *reported = Some(Instant::now());
            tracing::warn!(
                connections = self.total,
                "the public listener is full and further clients wait: raise the limit of connections, or \
                 put a proxy in front that limits connections and the time of each request head"
            );
        }
    }

    fn free(&self) -> usize {
        self.total.saturating_sub(self.open.load(Ordering::Relaxed))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Refuses requests of a client with too many connections, and closes connections after their
/// response while the client has more than its share.
pub(crate) async fn connections(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let peer = Client::peer(request.peer_addr());
    let stays = match request.conn_data::<Held>() {
        None => true,
        Some(Held { connections, place }) => {
            let Some(place) = place.get_or_init(|| connections.places.take(peer).ok()) else {
                let detail = "there are too many connections from where you are";
                let problem = Problem::new(429, "too_many_connections", detail).retry_after(1);
                return Ok(closing(request.into_response(problem.error_response())));
            };
            place.of_client() <= share(connections.free(), PART_KEPT_ALIVE)
        }
    };
    let answer = next.call(request).await?.map_into_boxed_body();
    Ok(if stays { answer } else { closing(answer) })
}

fn closing(mut answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    answer
}
