//! Concurrency limit of DNS lookups, in total and per client.
//!
//! A client can also use only a share of the free places, so a few clients with dead names leave
//! places for the others. This is the dynamic threshold of shared buffers (Choudhury and Hahne
//! 1998). Nothing waits for a place. A caller without one is refused at once, because a name server
//! that never responds may hold the places in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Divisor of the free places: a client can use an eighth of them.
const PART: usize = 8;

/// Number of places that a client can always use, however few are free.
const LEAST_SHARE: usize = 2;

/// Places of one kind, shared by clones.
#[derive(Debug, Clone)]
pub(super) struct Places {
    most: usize,
    most_per_client: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_client: HashMap<Arc<str>, usize>,
}

/// One place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    client: Arc<str>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_client: usize) -> Self {
        Self { most, most_per_client, taken: Arc::default() }
    }

    /// Takes a place for this client. Returns `None` if the limit of the client or the total limit
    /// is reached.
    pub(super) fn take(&self, client: &Arc<str>) -> Option<Place> {
        let mut taken = self.taken();
        let of_client = taken.by_client.get(client).copied().unwrap_or(0);
        let free = self.most.saturating_sub(taken.total);
        let share = (free / PART).max(LEAST_SHARE).min(self.most_per_client);
        if free == 0 || of_client >= share {
            return None;
        }
        taken.total += 1;
        taken.by_client.insert(Arc::clone(client), of_client + 1);
        Some(Place { places: self.clone(), client: Arc::clone(client) })
    }

    /// No code under the lock can panic, so a poisoned lock is still valid.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.total -= 1;
        if let Some(of_client) = taken.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_few_places_and_all_of_them_a_limit() {
        let places = Places::new(5, 2);
        let [ada, bob, eve] = ["ada", "bob", "eve"].map(Arc::from);
        let mut taken: Vec<_> = (0..2).map(|_| places.take(&ada).unwrap()).collect();
        assert!(places.take(&ada).is_none());
        taken.extend((0..2).map(|_| places.take(&bob).unwrap()));
        taken.push(places.take(&eve).unwrap());
        assert!(places.take(&eve).is_none(), "all of them have a limit");
        taken.remove(0);
        assert!(places.take(&ada).is_some());
        taken.clear();
        assert!(places.taken().by_client.is_empty() && places.taken().total == 0);
    }

    #[test]
    fn a_few_greedy_clients_leave_places_to_the_others() {
        let places = Places::new(64, 8);
        let mut taken = Vec::new();
        for client in 0..8 {
            let client = Arc::from(format!("mallory{client}"));
            taken.extend(std::iter::from_fn(|| places.take(&client)));
        }
        let ada: Vec<_> = std::iter::from_fn(|| places.take(&"ada".into())).collect();
        assert!(ada.len() >= 2, "{} places beside {}", ada.len(), taken.len());
    }
}
