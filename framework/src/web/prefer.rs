//! The `Prefer` header (RFC 7240): a client may ask for a deferred command.
//!
//! Unknown preferences are ignored, as the RFC requires. `Preference-Applied` lists the ones that
//! were applied.

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Path prefix of the routes of deferred commands.
pub(super) const COMMANDS: &str = "/commands/";

/// The preference `respond-async`, and `callback` if the client also wants to be called when the
/// command is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RespondAsync {
    /// True if the client wants a callback.
    pub callback: bool,
}

impl RespondAsync {
    /// Returns the preference of a request, or `None` if the client wants to wait for the result.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
        // A client may send several headers, and several preferences in each, so all are read.
        let given: Vec<&str> = values.flat_map(|value| value.split(',')).map(token).collect();
        let has = |name: &str| given.iter().any(|token| token.eq_ignore_ascii_case(name));
        has("respond-async").then(|| Self { callback: has("callback") })
    }

    fn applied(self) -> &'static str {
        if self.callback { "respond-async, callback" } else { "respond-async" }
    }
}

/// Returns the name of a preference, without its value and parameters.
fn token(preference: &str) -> &str {
    preference.split([';', '=']).next().unwrap_or_default().trim()
}

/// A 202 response: the command is stored and will be carried out. The `Location` header is the URL
/// of its status.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) id: Uuid,
    pub(super) applied: RespondAsync,
}

/// A command that was accepted to be carried out later.
#[derive(Serialize, ToSchema)]
#[schema(as = Accepted)]
pub(super) struct Body {
    /// Id of the command.
    #[schema(value_type = String)]
    id: Uuid,
    /// Always `accepted`.
    status: &'static str,
}

impl Responder for Accepted {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Accepted()
            .insert_header((header::LOCATION, format!("{COMMANDS}{}", self.id)))
            .insert_header(("Preference-Applied", self.applied.applied()))
            .json(Body { id: self.id, status: "accepted" })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn prefer(values: &[&'static str]) -> Option<RespondAsync> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static("prefer"), HeaderValue::from_static(value));
        }
        RespondAsync::of(&headers)
    }

    #[test]
    fn a_client_prefers_to_be_answered_later_only_if_it_says_so() {
        let plain = Some(RespondAsync { callback: false });
        for values in [
            &["respond-async"][..],
            &["Respond-Async"],
            &["wait=10, respond-async"],
            &["respond-async; foo=bar", "handling=lenient"],
        ] {
            assert_eq!(prefer(values), plain, "{values:?}");
        }
        let called = Some(RespondAsync { callback: true });
        for values in [&["respond-async, callback"][..], &["callback", "respond-async"]] {
            assert_eq!(prefer(values), called, "{values:?}");
        }
        for values in [&[][..], &["callback"], &["respond-asynchronously"], &["wait=10"], &[""]] {
            assert_eq!(prefer(values), None, "{values:?}");
        }
    }
}
