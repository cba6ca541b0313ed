//! What the bank answers when all is well, where the types of a handler do not say it themselves.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use actum::web::POSITION_HEADER;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, Object, Ref, RefOr, Required, Response,
    ResponseBuilder, Schema,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// What a command answers that was carried out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `CommandAnswer` writes")]
pub struct Committed {
    /// The account.
    id: String,
    /// The version of the account after the command.
    version: u64,
    /// Where the log stands after it: a read with this as `after` sees the command.
    position: u64,
}

/// The body of a command that says all in its path.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The answer of a read, as `DocumentAnswer` writes it: a `T` between its `id` and its `position`.
pub struct Read<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Read<T> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let RefOr::T(Schema::Object(mut fields)) = T::schema() else { return BTreeMap::new() };
        for (name, schema) in [("id", String::schema()), ("position", u64::schema())] {
            fields.properties.insert(name.to_owned(), schema);
            fields.required.push(name.to_owned());
        }
        close(&mut fields);
        let position = HeaderBuilder::new()
            .schema(Some(u64::schema()))
            .description(Some("The answer reflects the log up to here."));
        let response = ResponseBuilder::new()
            .description("As the log tells it, up to `position`")
            .header(POSITION_HEADER, position.build())
            .content("application/json", ContentBuilder::new().schema(Some(fields)).build());
        BTreeMap::from([("200".to_owned(), response.into())])
    }
}

/// A command that says all in its path needs no body.
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
