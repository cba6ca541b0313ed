//! Places that nobody may have too many of at a time: connections of a peer, streams of a principal.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, ResponseError};
use actum::web::Problem;

use super::Asker;

/// So many places for each asker.
#[derive(Clone)]
pub(crate) struct Places {
    most: usize,
    taken: Arc<Mutex<HashMap<Asker, usize>>>,
}

/// One of them, given back when it is dropped.
pub(crate) struct Place {
    places: Places,
    asker: Asker,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    fn take(&self, asker: Asker) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_asker = taken.entry(asker.clone()).or_default();
        (*of_asker < self.most).then(|| {
            *of_asker += 1;
            Place { places: self.clone(), asker }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has none is forgotten: what is kept is never more than the places that are taken.
        if let Some(of_asker) = taken.get_mut(&self.asker) {
            *of_asker -= 1;
            if *of_asker == 0 {
                taken.remove(&self.asker);
            }
        }
    }
}

/// The places of live streams, shared by all workers.
#[derive(Clone)]
pub(crate) struct Streams(pub(crate) Places);

impl Streams {
    /// A place for one more stream of whoever asks.
    pub(crate) fn enter(request: &HttpRequest) -> Result<Option<Place>, Problem> {
        let Some(Self(places)) = request.app_data::<Self>() else { return Ok(None) };
        let place = places.take(Asker::of(request));
        let detail = "there are too many live streams of yours; end one";
        place.map(Some).ok_or_else(|| Problem::new(429, "too_many_streams", detail).retry_after(1))
    }
}

/// The places of connections, shared by all workers.
#[derive(Clone)]
pub(crate) struct Connections(pub(crate) Places);

/// Stands beside a connection as long as that lasts, and holds its place from the first request on.
#[derive(Default)]
pub(crate) struct Held(OnceCell<Option<Place>>);

impl Held {
    /// For `HttpServer::on_connect`.
    pub(crate) fn beside(connection: &mut Extensions) {
        connection.insert(Self::default());
    }
}

/// Hangs up on a peer that has too many connections. actix bounds the head only of a connection's
/// first request in time, so this bounds how many can be kept from going on.
pub(crate) async fn connections(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let places = request.app_data::<Connections>();
    if let (Some(Connections(places)), Some(held)) = (places, request.conn_data::<Held>()) {
        let peer = Asker::peer(request.peer_addr());
        if held.0.get_or_init(|| places.take(peer)).is_none() {
            let detail = "there are too many connections from where you are";
            let problem = Problem::new(429, "too_many_connections", detail).retry_after(1);
            let mut response = problem.error_response();
            response.head_mut().set_connection_type(ConnectionType::Close);
            return Ok(request.into_response(response));
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_back_is_free_again_and_nothing_is_kept_of_its_asker() {
        let places = Places::new(2);
        let ada = || places.take(Asker::Principal("ada".into()));
        let (first, _second) = (ada(), ada());
        assert!(first.is_some() && ada().is_none());
        assert!(places.take(Asker::Unknown).is_some(), "others have places of their own");
        drop(first);
        assert!(ada().is_some());
        drop(_second);
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
