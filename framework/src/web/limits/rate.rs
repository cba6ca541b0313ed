//! The rate limit: how often each client may send requests.
//!
//! Each client has a bucket of requests that is filled at a steady rate (the generic cell rate
//! algorithm, ITU-T I.371). Only the time at which the bucket is full again is kept, so a client
//! costs one entry of a map, and none once its bucket is full.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, rt};

use super::client::Client;
use crate::web::problem::Problem;

/// Clients whose bucket is full again are forgotten once in this time.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// A number of requests in a second, minute or hour, such as `100/s`, `600/m` or `5000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    requests: NonZeroU32,
    per: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate such as 100/s, 600/m or 5000/h");
        let (requests, unit) = text.split_once('/').ok_or_else(wrong)?;
        let requests = requests.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        Ok(Self { requests, per: Duration::from_secs(seconds) })
    }
}

/// The buckets of all clients, shared by all workers.
#[derive(Clone)]
pub(in crate::web) struct Buckets {
    /// Time that one request takes to come back into a bucket.
    refill: Duration,
    /// Time that an empty bucket takes to be full.
    whole: Duration,
    /// Time at which the bucket of a client is full. A client that is absent has a full one.
    full_at: Arc<Mutex<HashMap<Client, Instant>>>,
}

impl Buckets {
    /// Buckets that hold `burst` requests, or as many as the rate says.
    pub(super) fn new(rate: Rate, burst: Option<NonZeroU32>) -> Self {
        let refill = rate.per / rate.requests.get();
        let whole = refill.saturating_mul(burst.unwrap_or(rate.requests).get());
        Self { refill, whole, full_at: Arc::default() }
    }

    /// Forgets clients with a full bucket, for as long as the process lives.
    pub(super) fn keep_small(&self) {
        let buckets = self.clone();
        rt::spawn(async move {
            loop {
                rt::time::sleep(FORGET_EVERY).await;
                buckets.forget(Instant::now());
            }
        });
    }

    /// Counts the request, if there is a rate limit.
    ///
    /// # Errors
    /// 429 `rate_limited`, with the seconds until the next request.
    pub(in crate::web) fn enter(request: &HttpRequest) -> Result<(), Problem> {
        let Some(buckets) = request.app_data::<Self>() else { return Ok(()) };
        buckets.take(&Client::of(request), Instant::now()).map_err(|wait| {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            let detail = "you send more requests than you may; nothing was done";
            Problem::new(429, "rate_limited", detail).retry_after(seconds)
        })
    }

    /// Takes a request out of the client's bucket, or returns the time until there is one.
    fn take(&self, client: &Client, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at();
        let full = full_at.get(client).map_or(now, |full| now.max(*full));
        let after = full + self.refill;
        match (after - now).checked_sub(self.whole) {
            None | Some(Duration::ZERO) => {
                full_at.insert(client.clone(), after);
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    fn forget(&self, now: Instant) {
        let mut full_at = self.full_at();
        full_at.retain(|_, full| *full > now);
        // A crowd of clients must not cost memory after it has left.
        full_at.shrink_to_fit();
    }

    fn full_at(&self) -> std::sync::MutexGuard<'_, HashMap<Client, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Client {
        Client::Principal("ada".into())
    }

    fn buckets(rate: &str, burst: u32) -> Buckets {
        Buckets::new(rate.parse().unwrap(), NonZeroU32::new(burst))
    }

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let requests = NonZeroU32::new(600).unwrap();
        assert_eq!("600/m".parse(), Ok(Rate { requests, per: Duration::from_secs(60) }));
        for wrong in ["", "600", "/s", "0/s", "-1/s", "1.5/s", "1/d", "1/s/s", "5000000000/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_client_has_a_bucket_of_their_own_and_is_told_how_long_to_wait() {
        let (buckets, now) = (buckets("2/h", 3), Instant::now());
        for _ in 0..3 {
            buckets.take(&ada(), now).unwrap();
        }
        let wait = buckets.take(&ada(), now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1800));
        buckets.take(&Client::Unknown, now).unwrap();
        assert!(buckets.take(&ada(), now + wait - Duration::from_millis(1)).is_err());
        buckets.take(&ada(), now + wait).unwrap();
        assert!(buckets.take(&ada(), now + wait).is_err(), "only one request has come back");
    }

    #[test]
    fn a_steady_client_gets_exactly_its_rate() {
        let (buckets, begin) = (buckets("10/s", 1), Instant::now());
        let taken =
            (0..2000).filter(|ms| buckets.take(&ada(), begin + Duration::from_millis(*ms)).is_ok());
        assert_eq!(taken.count(), 20);
    }

    #[test]
    fn whoever_has_a_full_bucket_again_is_forgotten() {
        let (buckets, now) = (buckets("1000/s", 1), Instant::now());
        for n in 0..1000 {
            buckets.take(&Client::Principal(n.to_string()), now).unwrap();
        }
        buckets.forget(now);
        assert_eq!(buckets.full_at().len(), 1000, "nobody's bucket is full yet");
        buckets.forget(now + Duration::from_millis(1));
        assert_eq!(buckets.full_at().len(), 0);
    }
}
