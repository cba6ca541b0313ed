//! How often each asker may ask: a bucket of requests for each, filled at a steady rate.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, rt};
use actum::web::Problem;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::Asker;

/// Whoever has a full bucket again is forgotten, so often.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Such as `100/s`, `600/m` or `5000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    requests: NonZeroU32,
    unit: char,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate such as 100/s, 600/m or 5000/h");
        let (requests, unit) = text.split_once('/').ok_or_else(wrong)?;
        let requests = requests.parse().map_err(|_| wrong())?;
        match unit {
            "s" => Ok(Self { requests, unit: 's' }),
            "m" => Ok(Self { requests, unit: 'm' }),
            "h" => Ok(Self { requests, unit: 'h' }),
            _ => Err(wrong()),
        }
    }
}

/// The buckets of all askers, shared by all workers.
pub(crate) struct Buckets(DefaultKeyedRateLimiter<Asker>);

impl Buckets {
    /// Buckets that hold so many requests, or as many as the rate says.
    pub(crate) fn new(rate: Rate, burst: Option<NonZeroU32>) -> Data<Self> {
        let quota = match rate.unit {
            's' => Quota::per_second(rate.requests),
            'm' => Quota::per_minute(rate.requests),
            _ => Quota::per_hour(rate.requests),
        };
        let quota = quota.allow_burst(burst.unwrap_or(rate.requests));
        let buckets = Data::new(Self(DefaultKeyedRateLimiter::keyed(quota)));
        let kept = buckets.clone();
        rt::spawn(async move {
            loop {
                rt::time::sleep(FORGET_EVERY).await;
                kept.0.retain_recent();
                kept.0.shrink_to_fit();
            }
        });
        buckets
    }

    /// Turns away who asks too often, if there are buckets.
    pub(crate) fn enter(request: &HttpRequest) -> Result<(), Problem> {
        let Some(buckets) = request.app_data::<Data<Self>>() else { return Ok(()) };
        buckets.take(&Asker::of(request)).map_err(|wait| {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            let detail = "you ask more often than you may; nothing was done";
            Problem::new(429, "rate_limited", detail).retry_after(seconds)
        })
    }

    /// Takes a request out of the asker's bucket, or tells how long until there is one.
    fn take(&self, asker: &Asker) -> Result<(), Duration> {
        let taken = self.0.check_key(asker);
        taken.map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let requests = NonZeroU32::new(600).unwrap();
        assert_eq!("600/m".parse(), Ok(Rate { requests, unit: 'm' }));
        for wrong in ["", "600", "/s", "0/s", "-1/s", "1.5/s", "1/d", "1/s/s", "5000000000/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[actix_web::test]
    async fn each_asker_has_a_bucket_of_their_own_and_is_told_how_long_to_wait() {
        let buckets = Buckets::new("2/h".parse().unwrap(), NonZeroU32::new(3));
        let ada = Asker::Principal("ada".into());
        for _ in 0..3 {
            buckets.take(&ada).unwrap();
        }
        let wait = buckets.take(&ada).unwrap_err();
        assert!(wait > Duration::from_secs(1700) && wait <= Duration::from_secs(1800), "{wait:?}");
        buckets.take(&Asker::Unknown).unwrap();
    }

    #[actix_web::test]
    async fn whoever_has_a_full_bucket_again_is_forgotten() {
        let buckets = Buckets::new("1000/s".parse().unwrap(), NonZeroU32::new(1));
        for n in 0..1000 {
            buckets.take(&Asker::Principal(n.to_string())).unwrap();
        }
        rt::time::sleep(Duration::from_millis(20)).await;
        buckets.0.retain_recent();
        assert_eq!(buckets.0.len(), 0);
    }
}
