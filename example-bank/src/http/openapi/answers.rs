//! What the bank answers when all is well, where the types of a handler do not say it themselves.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use actix_web::http::header::{ETAG, LOCATION};
use actum::web::{POSITION_HEADER, REPLAYED_HEADER};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{
    Components, Content, Header, HeaderBuilder, Object, Ref, RefOr, Required, Response,
    ResponseBuilder, Schema,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::{later, links};

/// What a command answers that was carried out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `CommandAnswer` writes")]
pub struct Committed {
    /// The account or user.
    id: String,
    /// Its version after the command.
    version: u64,
    /// Where the log stands after it: a read with this as `after` sees the command.
    position: u64,
}

/// 200: the command was carried out.
pub struct Done;

impl IntoResponses for Done {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let done = committed("It was carried out; maybe before, by the same `Idempotency-Key`");
        BTreeMap::from([("200".to_owned(), done.into()), later::accepted()])
    }
}

/// 201: there is a new account.
pub struct Opened;

impl IntoResponses for Opened {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let place = header::<String>("Where the account is.");
        let opened = committed("The account is open").header(LOCATION.as_str(), place);
        BTreeMap::from([("201".to_owned(), opened.into()), later::accepted()])
    }
}

/// 200: the user has this name.
pub struct Named;

impl IntoResponses for Named {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let named = carried_out("The user has this name; maybe since an earlier request");
        BTreeMap::from([("200".to_owned(), named.into())])
    }
}

fn committed(told: &str) -> ResponseBuilder {
    links::add(carried_out(told))
}

fn carried_out(told: &str) -> ResponseBuilder {
    let body = Content::new(Some(Ref::from_schema_name("Committed")));
    ResponseBuilder::new()
        .description(told)
        .header(POSITION_HEADER, header::<u64>("The `position` of the body."))
        .header(ETAG.as_str(), header::<String>("The version, for an `If-Match`."))
        .header(REPLAYED_HEADER, header::<bool>("`true` if it was carried out before."))
        .content("application/json", body)
}

/// 200: a document of a read model, as `DocumentAnswer` writes it. 304: it is known.
pub struct Read<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Read<T> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
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
                .header(ETAG.as_str(), header::<String>("The account's version."))
        };
        let read = answer("As the log tells it up to `position`");
        let read = read.content("application/json", Content::new(Some(document)));
        let known = answer("The account is still at the version in `If-None-Match`");
        BTreeMap::from([("200".to_owned(), read.into()), ("304".to_owned(), known.into())])
    }
}

pub(super) fn header<T: PartialSchema>(told: &str) -> Header {
    HeaderBuilder::new().schema(Some(T::schema())).description(Some(told)).build()
}

/// One message of a stream of events.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `SseMessage` writes")]
pub struct Message {
    /// The version of the account: the `Last-Event-ID` to go on after.
    id: String,
    /// The type of the event.
    event: String,
    /// The entry of the history, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// The body of a command that says all in its path.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Such a body may be left out.
pub fn allow_no_body(operation: &mut Operation) {
    let nothing = RefOr::Ref(Ref::from_schema_name("Nothing"));
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(RefOr::T(content)) = body.content.get("application/json")
        && content.schema.as_ref() == Some(&nothing)
    {
        body.required = Some(Required::False);
    }
}

/// An answer has the members that are described, and no others; a problem may tell more.
pub fn close_all(components: &mut Components) {
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
