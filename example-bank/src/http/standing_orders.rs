//! Standing orders over HTTP: placed, cancelled and read.

use std::collections::BTreeMap;

use actum::web::openapi::{AggregateId, Created, Done, NoMembers, Read};
use actum::web::{
    CommandAnswer, CommandHeaders, CommandTo, DocumentAnswer, Freshness, JsonBody, NoBody, Problem,
};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{Ref, RefOr, Response};
use utoipa::{IntoResponses, ToSchema};

use super::reading::{Reading, owner_of};
use super::{App, values};
use crate::account::Account;
use crate::standing_order::{StandingOrder, StandingOrderCommand, Terms};
use crate::standing_order_status::StandingOrderStatus;
use crate::transfer::Order;

type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewStandingOrder {
    #[schema(schema_with = values::account_id)]
    from: String,
    #[schema(schema_with = values::account_id)]
    to: String,
    #[schema(schema_with = values::amount)]
    amount: i64,
    #[schema(schema_with = values::day)]
    day: u8,
    #[schema(schema_with = values::reference, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

/// 404: the body names an account that does not exist.
struct NoSuchAccount;

impl IntoResponses for NoSuchAccount {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [("404".to_owned(), Ref::from_response_name("UnknownAccount").into())].into()
    }
}

/// Places a standing order: a transfer each month, from the first such day after today (UTC) on.
#[utoipa::path(post, path = "/standing-orders", tag = "standing orders",
    params(CommandHeaders), request_body = NewStandingOrder, responses(Created, NoSuchAccount))]
pub(super) async fn place(
    app: App,
    standing_order: CommandTo<StandingOrder>,
    body: JsonBody<NewStandingOrder>,
) -> Answer {
    let NewStandingOrder { from, to, amount, day, reference } = &body.0;
    let (owner, payee) = (owner_of(&app, from).await?, owner_of(&app, to).await?);
    let (Some(owner), Some(_)) = (owner, payee) else { return Err(Problem::unknown::<Account>()) };
    let (from, to, reference) = (from.clone(), to.clone(), reference.clone());
    let transfer = Order { from, to, amount: *amount, reference };
    let command = StandingOrderCommand::Place(Terms { transfer, day: *day, owner });
    let answer = standing_order.with_id(None).execute(command, &body).await?;
    Ok(answer.created_at("/standing-orders/"))
}

/// Cancels a standing order. A transfer that is under way still ends.
#[utoipa::path(post, path = "/standing-orders/{id}/cancel", tag = "standing orders",
    params(AggregateId, CommandHeaders), request_body = NoMembers, responses(Done))]
pub(super) async fn cancel(standing_order: CommandTo<StandingOrder>, _: NoBody) -> Answer {
    standing_order.execute(StandingOrderCommand::Cancel, &()).await
}

/// Returns the terms and the next date of a standing order, and its last transfers.
#[utoipa::path(get, path = "/standing-orders/{id}", tag = "standing orders",
    params(AggregateId, Freshness), responses(Read<StandingOrderStatus>))]
pub(super) async fn standing_order(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<StandingOrderStatus>, Problem> {
    let id = reading.allowed_standing_order(&app).await?;
    freshness.read(&app, &id).await.map_err(Problem::reading::<StandingOrder>)
}
