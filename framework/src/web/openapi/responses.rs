//! Successful responses, where the types of a handler do not describe them.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use actix_web::http::header::{ETAG, LOCATION};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{
    Components, Content, Header, HeaderBuilder, Object, Ref, RefOr, Required, Response,
    ResponseBuilder, Schema,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::web::answer::{Body, REPLAYED_HEADER};
use crate::web::freshness::POSITION_HEADER;

type Responses = BTreeMap<String, RefOr<Response>>;

/// 200: the command was carried out. What [`CommandAnswer::done`](crate::web::CommandAnswer)
/// writes.
pub struct Done;

impl IntoResponses for Done {
    fn responses() -> Responses {
        let done = committed("It was carried out; maybe before, by the same `Idempotency-Key`");
        one("200", done)
    }
}

/// 201: there is a new aggregate.
pub struct Created;

impl IntoResponses for Created {
    fn responses() -> Responses {
        let created = committed("It was created; maybe before, by the same `Idempotency-Key`");
        one("201", created.header(LOCATION.as_str(), header::<String>("Where it is.")))
    }
}

/// 202: there is a new aggregate, and a process manager continues. Written by
/// [`CommandAnswer::started_at`](crate::web::CommandAnswer::started_at).
pub struct Started;

impl IntoResponses for Started {
    fn responses() -> Responses {
        let started = committed("It has begun; maybe before, by the same `Idempotency-Key`");
        one(
            "202",
            started.header(LOCATION.as_str(), header::<String>("Where to read how it goes.")),
        )
    }
}

/// 202: the command was accepted, as requested by `Prefer: respond-async`.
pub struct Accepted;

impl IntoResponses for Accepted {
    fn responses() -> Responses {
        let body = Content::new(Some(Ref::from_schema_name("Accepted")));
        let accepted = ResponseBuilder::new()
            .description(
                "It is stored and will be carried out, as `Prefer: respond-async` asks for",
            )
            .header(LOCATION.as_str(), header::<String>("Where to ask what came of it."))
            .header("Preference-Applied", header::<String>("What was preferred and is done."))
            .content("application/json", body);
        one("202", accepted)
    }
}

fn one(status: &str, response: ResponseBuilder) -> Responses {
    BTreeMap::from([(status.to_owned(), response.into())])
}

fn committed(told: &str) -> ResponseBuilder {
    let body = Content::new(Some(Ref::from_schema_name("Committed")));
    ResponseBuilder::new()
        .description(told)
        .header(POSITION_HEADER, header::<u64>("The `position` of the body."))
        .header(ETAG.as_str(), header::<String>("The version, for an `If-Match`."))
        .header(REPLAYED_HEADER, header::<bool>("`true` if it was carried out before."))
        .content("application/json", body)
}

/// 200: a document of a read model, as [`DocumentAnswer`](crate::web::DocumentAnswer) writes it.
/// 304: the client has it already.
pub struct Read<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Read<T> {
    fn responses() -> Responses {
        let RefOr::T(Schema::Object(mut document)) = T::schema() else { return BTreeMap::new() };
        for (name, schema) in [("id", String::schema()), ("position", u64::schema())] {
            document.properties.insert(name.to_owned(), schema);
            document.required.push(name.to_owned());
        }
        close(&mut document);
        let answer = |told| {
            ResponseBuilder::new()
                .description(told)
                .header(POSITION_HEADER, header::<u64>("The log was read up to here."))
                .header(ETAG.as_str(), header::<String>("The version."))
        };
        let read = answer("As the log tells it up to `position`");
        let read = read.content("application/json", Content::new(Some(document)));
        let known = answer("It is still at the version in `If-None-Match`");
        BTreeMap::from([("200".to_owned(), read.into()), ("304".to_owned(), known.into())])
    }
}

pub(super) fn header<T: PartialSchema>(told: &str) -> Header {
    HeaderBuilder::new().schema(Some(T::schema())).description(Some(told)).build()
}

/// One message of a stream of events.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a message is text on the wire, so nothing else has these fields")]
pub struct Message {
    /// Version after the event: the `Last-Event-ID` to resume after.
    id: String,
    /// Type of the event.
    event: String,
    /// Entry of the history, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// Body of a command that needs only its path.
#[derive(ToSchema)]
#[schema(as = Nothing)]
#[serde(deny_unknown_fields)]
pub struct NoMembers {}

/// Marks this body as optional.
pub(super) fn allow_no_body(operation: &mut Operation) {
    let nothing = RefOr::Ref(Ref::from_schema_name("Nothing"));
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(RefOr::T(content)) = body.content.get("application/json")
        && content.schema.as_ref() == Some(&nothing)
    {
        body.required = Some(Required::False);
    }
}

/// Adds the schemas to which responses refer by name.
pub(super) fn describe(components: &mut Components) {
    components.schemas.insert("Committed".to_owned(), Body::schema());
}

/// Forbids undocumented members in responses. A problem may have further members.
pub(super) fn close_all(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(object)) = schema
            && !object.properties.is_empty()
            && name != "Problem"
        {
            close(object);
        }
    }
}

fn close(object: &mut Object) {
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
}
