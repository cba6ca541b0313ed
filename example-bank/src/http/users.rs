//! The commands of a user over HTTP.

use actum::web::openapi::{AggregateId, Done, new_id};
use actum::web::{CommandAnswer, CommandHeaders, CommandTo, JsonBody, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::values;
use crate::user::{User, UserCommand};

type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schema(schema_with = new_id, required = false)]
    id: Option<String>,
    #[schema(schema_with = values::owner)]
    owner: String,
    #[schema(schema_with = values::user_name)]
    name: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserName {
    #[schema(schema_with = values::user_name)]
    name: String,
}

/// Registers a user under a unique name.
#[utoipa::path(post, path = "/users", tag = "users",
    params(CommandHeaders), request_body = NewUser, responses(Done))]
pub(super) async fn register(user: CommandTo<User>, body: JsonBody<NewUser>) -> Answer {
    let NewUser { id, owner, name } = &body.0;
    let command = UserCommand::Register { owner: owner.clone(), name: name.clone() };
    user.with_id(id.clone()).execute(command, &body).await
}

/// Changes the name of a user to another unique name; the old one is free then.
#[utoipa::path(put, path = "/users/{id}/name", tag = "users",
    params(AggregateId, CommandHeaders), request_body = UserName, responses(Done))]
pub(super) async fn rename(user: CommandTo<User>, body: JsonBody<UserName>) -> Answer {
    user.execute(UserCommand::Rename { name: body.name.clone() }, &body).await
}
