//! Where the answer of a command leads: what can be asked of its account next.

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{RefOr, ResponseBuilder};

/// Operations that are told to answer what the command did.
const READS: &[&str] = &["account", "balance", "credit_limit", "statement"];

const OTHERS: &[&str] =
    &["history", "credit", "withdraw", "freeze", "unfreeze", "close", "grant_credit_limit"];

/// Adds the links to the answer of a command.
pub fn add(mut response: ResponseBuilder) -> ResponseBuilder {
    for linked in READS.iter().chain(OTHERS) {
        let mut link =
            LinkBuilder::new().operation_id(*linked).parameter("id", "$response.body#/id");
        if READS.contains(linked) {
            link = link.parameter("after", "$response.body#/position");
        }
        response = response.link(*linked, RefOr::T(link.build()));
    }
    response
}
