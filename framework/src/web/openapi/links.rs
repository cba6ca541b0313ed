//! Links from the response of a command to the operations on its aggregate.

use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema};

use super::values;

/// An operation on one aggregate.
struct Linked {
    tag: String,
    id: String,
    /// True for a read that can wait until it reflects the command.
    is_read: bool,
}

/// Adds links to the response of every command: to the operations of the same tag on its aggregate.
/// No links are added if no read can wait for the command.
pub(super) fn add(document: &mut OpenApi) {
    let linked: Vec<Linked> = document
        .paths
        .paths
        .iter()
        .filter(|(path, _)| path.contains("{id}"))
        .flat_map(|(_, item)| operations(item))
        .filter_map(linked)
        .collect();
    for item in document.paths.paths.values_mut() {
        for operation in operations_mut(item) {
            let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            let of_tag = || linked.iter().filter(|linked| linked.tag == tag);
            if of_tag().any(|linked| linked.is_read) {
                of_tag().for_each(|linked| link(operation, linked));
            }
        }
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = &Operation> {
    [&item.get, &item.post, &item.put, &item.delete].into_iter().flatten()
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten()
}

/// Returns the link to an operation, if it is a command or a read that ends.
fn linked(operation: &Operation) -> Option<Linked> {
    let is_stream = serde_json::to_string(&operation.responses).ok()?.contains("event-stream");
    if is_stream {
        return None;
    }
    // Only a read with a position in `after` can wait for a command. In a list of events the same
    // parameter is a version.
    let position = RefOr::T(Schema::Object(values::position()));
    let waits = |parameter: &Parameter| {
        parameter.name == "after"
            && parameter.parameter_in == ParameterIn::Query
            && parameter.schema.as_ref() == Some(&position)
    };
    let mut parameters = operation.parameters.iter().flatten();
    let is_read = parameters.any(|parameter| match parameter {
        RefOr::T(parameter) => waits(parameter),
        RefOr::Ref(_) => false, // nothing in the document refers to a parameter
    });
    let tag = operation.tags.iter().flatten().next()?.clone();
    Some(Linked { tag, id: operation.operation_id.clone()?, is_read })
}

/// Adds a link to the responses that name an aggregate, its version and the position.
fn link(operation: &mut Operation, to: &Linked) {
    let committed = RefOr::Ref(Ref::from_schema_name("Committed"));
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let content = response.content.get("application/json");
        let is_committed = content.is_some_and(|content| match content {
            RefOr::T(content) => content.schema.as_ref() == Some(&committed),
            RefOr::Ref(_) => false,
        });
        if is_committed {
            response.links.insert(to.id.clone(), RefOr::T(target(to)));
        }
    }
}

fn target(to: &Linked) -> Link {
    let link = LinkBuilder::new().operation_id(&to.id).parameter("id", "$response.body#/id");
    match to.is_read {
        true => link.parameter("after", "$response.body#/position").build(),
        false => link.build(),
    }
}
