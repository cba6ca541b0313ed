//! Where an answer leads: what can be asked of the account that a command opened or changed.

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Ref, RefOr, Response};

/// By operation, and whether it is told to answer what the command did.
const OF_AN_ACCOUNT: &[(&str, bool)] = &[
    ("account", true),
    ("balance", true),
    ("credit_limit", true),
    ("statement", true),
    ("history", false),
    ("credit", false),
    ("withdraw", false),
    ("freeze", false),
    ("unfreeze", false),
    ("close", false),
    ("grant_credit_limit", false),
];

/// Adds them to the operation if it is a command.
pub fn add(operation: &mut Operation) {
    for status in ["200", "201"] {
        let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) else {
            continue;
        };
        if !is_committed(response) {
            continue;
        }
        for (linked, sees_it) in OF_AN_ACCOUNT {
            let mut link =
                LinkBuilder::new().operation_id(*linked).parameter("id", "$response.body#/id");
            if *sees_it {
                link = link.parameter("after", "$response.body#/position");
            }
            response.links.insert((*linked).to_owned(), RefOr::T(link.build()));
        }
    }
}

fn is_committed(response: &Response) -> bool {
    let committed = RefOr::Ref(Ref::from_schema_name("Committed"));
    let Some(RefOr::T(body)) = response.content.get("application/json") else { return false };
    body.schema.as_ref() == Some(&committed)
}
