//! Users over HTTP, and how it is told that a name or a number is somebody else's.

use actix_web::web::{Json, Path};
use actum::CommandError;
use actum::web::{CommandAnswer, CommandHeaders, Object, Principal, Problem, RefusalCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::openapi::{self, InItsHeaders, Named, UserId};
use crate::access::OPERATE;
use crate::user::{User, UserCommand, UserRefusal};

type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schema(schema_with = openapi::made_up_id, required = false)]
    id: Option<String>,
    #[schema(schema_with = openapi::owner)]
    owner: String,
    #[schema(schema_with = openapi::user_name)]
    name: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserName {
    #[schema(schema_with = openapi::user_name)]
    name: String,
}

/// Registers a user under a name that nobody else has.
#[utoipa::path(post, path = "/users", tag = "users",
    params(InItsHeaders), request_body = NewUser, responses(Named))]
pub(super) async fn register(
    app: App,
    by: Principal,
    headers: CommandHeaders,
    body: Json<Object<NewUser>>,
) -> Answer {
    let options = headers.options(&body)?;
    let NewUser { id, owner, name } = body.into_inner().0;
    let id = id.unwrap_or_else(|| headers.new_id());
    let command = UserCommand::Register { owner, name };
    let answer = app.execute_with::<User>(&id, command, options).await;
    let committed = answer.map_err(|error| taken(error, "name_taken", &by))?;
    Ok(CommandAnswer::done(id, committed))
}

/// Gives a user another name that nobody else has; the old one is free then.
#[utoipa::path(put, path = "/users/{id}/name", tag = "users",
    params(UserId, InItsHeaders), request_body = UserName, responses(Named))]
pub(super) async fn rename(
    app: App,
    by: Principal,
    id: Path<String>,
    headers: CommandHeaders,
    body: Json<Object<UserName>>,
) -> Answer {
    let options = headers.options(&body)?;
    let command = UserCommand::Rename { name: body.into_inner().0.name };
    let answer = app.execute_with::<User>(&id, command, options).await;
    let committed = answer.map_err(|error| taken(error, "name_taken", &by))?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}

/// What is claimed by another is told by this code. Whose it is, is told to operators alone.
pub(super) fn taken<E: RefusalCode>(
    error: CommandError<E>,
    code: &'static str,
    by: &Principal,
) -> Problem {
    let CommandError::Claimed { claim, holder } = &error else { return error.into() };
    let problem = Problem::new(409, code, error.to_string())
        .member("kind", claim.kind())
        .member("value", claim.value());
    match by.may(OPERATE) {
        true => problem.member("holder", holder.id()),
        false => problem,
    }
}

impl RefusalCode for UserRefusal {
    fn code(&self) -> &'static str {
        UserRefusal::code(self)
    }

    fn status(&self) -> u16 {
        match self {
            Self::UnknownUser => 404,
            Self::NotForOthers => 403,
            _ => 422,
        }
    }
}
