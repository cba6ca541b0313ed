//! Concurrency limits per client, for connections and live streams.
//!
//! Beside a fixed limit, a client can use only a share of the free places. So the fewer places are
//! left, the fewer one client gets, and some are always left for the next one. This is the dynamic
//! threshold of shared buffers (Choudhury and Hahne 1998).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::HttpRequest;

use super::client::Client;
use crate::web::problem::Problem;

/// Number of places that a client can always use, however few are free.
const LEAST_SHARE: usize = 4;

/// Returns the share of one client when `free` places are free.
pub(super) fn share(free: usize, part: usize) -> usize {
    (free / part).max(LEAST_SHARE)
}

/// Places, limited in total and per client. Shared by clones.
#[derive(Clone)]
pub(crate) struct Places {
    total: usize,
    each: usize,
    /// Divisor of the free places that gives a client's share.
    part: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    sum: usize,
    by: HashMap<Client, usize>,
}

/// One place, free again when this is dropped.
pub(crate) struct Place {
    places: Places,
    client: Client,
}

/// Reason why no place is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The limit of the client is reached.
    OfClient,
    /// The total limit is reached.
    AtAll,
}

impl Places {
    /// Creates `total` places, at most `each` per client, and at most one `part`th of the free
    /// ones.
    pub(crate) fn new(total: usize, each: usize, part: usize) -> Self {
        Self { total, each, part, taken: Arc::default() }
    }

    pub(crate) fn take(&self, client: Client) -> Result<Place, NoPlace> {
        let mut taken = self.taken();
        if taken.sum >= self.total {
            return Err(NoPlace::AtAll);
        }
        let most = self.each.min(share(self.total - taken.sum, self.part));
        let of_client_now = taken.by.get(&client).copied().unwrap_or_default();
        if of_client_now >= most {
            return Err(NoPlace::OfClient);
        }
        taken.sum += 1;
        taken.by.insert(client.clone(), of_client_now + 1);
        Ok(Place { places: self.clone(), client })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Number of places of the same client.
    pub(super) fn of_client(&self) -> usize {
        self.places.taken().by.get(&self.client).copied().unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.sum = taken.sum.saturating_sub(1);
        // A client without a place is removed, so the memory is bounded by the places in use.
        if let Some(of_client_now) = taken.by.get_mut(&self.client) {
            *of_client_now -= 1;
            if *of_client_now == 0 {
                taken.by.remove(&self.client);
            }
        }
    }
}

/// Divisor of the free live streams: a client can use a quarter of them.
const PART_OF_STREAMS: usize = 4;

/// Limit of live streams, shared by all workers.
#[derive(Clone)]
pub(crate) struct Streams(Places);

impl Streams {
    /// Creates a limit of `total` streams, and `each` per client.
    pub(crate) fn new(total: usize, each: usize) -> Self {
        Self(Places::new(total, each, PART_OF_STREAMS))
    }

    /// Takes a place for one more stream of the client. Returns `None` if streams are not limited.
    ///
    /// # Errors
    /// 429 `too_many_streams`: the client's limit is reached. 503 `no_live_stream`: the total limit
    /// is reached.
    pub(in crate::web) fn enter(request: &HttpRequest) -> Result<Option<Place>, Problem> {
        let Some(Self(places)) = request.app_data::<Self>() else { return Ok(None) };
        places.take(Client::of(request)).map(Some).map_err(|none| match none {
            NoPlace::AtAll => Problem::no_live_stream(),
            NoPlace::OfClient => {
                let detail = "you have your share of the live streams; end one";
                Problem::new(429, "too_many_streams", detail).retry_after(1)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(client: impl ToString) -> Client {
        Client::Principal(client.to_string())
    }

    #[test]
    fn a_place_that_is_given_back_is_free_again_and_nothing_is_kept_of_its_client() {
        let places = Places::new(100, 2, 4);
        let ada = || places.take(named("ada"));
        let (first, second) = (ada(), ada());
        assert_eq!(ada().err(), Some(NoPlace::OfClient));
        assert!(places.take(Client::Unknown).is_ok(), "others have places of their own");
        drop(first);
        assert!(ada().is_ok());
        drop(second);
        let taken = places.taken();
        assert!(taken.by.is_empty() && taken.sum == 0);
    }

    #[test]
    fn greedy_clients_leave_places_for_the_next_one() {
        let places = Places::new(1024, 100, 4);
        let mut held = Vec::new();
        let mut counts = Vec::new();
        for client in 0..20 {
            let before = held.len();
            while let Ok(place) = places.take(named(client)) {
                held.push(place);
            }
            counts.push(held.len() - before);
        }
        assert_eq!(counts[..6], [100; 6]);
        assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
        assert!(held.len() < 1024, "{counts:?}");
    }

    #[test]
    fn no_place_is_left_only_when_all_are_taken() {
        let places = Places::new(8, 100, 4);
        let held: Vec<_> = (0..8).map(|n| places.take(named(n / 4)).ok()).collect();
        assert!(held.iter().all(Option::is_some));
        assert_eq!(places.take(named("next")).err(), Some(NoPlace::AtAll));
    }
}
