//! Users over HTTP, and who is told whose a name or a number is.

use actix_web::web::Path;
use actum::CommandError;
use actum::web::{CommandAnswer, CommandHeaders, JsonBody, Principal, Problem, RefusalCode};
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
    body: JsonBody<NewUser>,
) -> Answer {
    let options = headers.options(&body)?;
    let NewUser { id, owner, name } = body.0;
    let id = id.unwrap_or_else(|| headers.new_id());
    let command = UserCommand::Register { owner, name };
    let answer = app.execute_with::<User>(&id, command, options).await;
    let committed = answer.map_err(|error| with_holder(error, &by))?;
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
    body: JsonBody<UserName>,
) -> Answer {
    let options = headers.options(&body)?;
    let command = UserCommand::Rename { name: body.0.name };
    let answer = app.execute_with::<User>(&id, command, options).await;
    let committed = answer.map_err(|error| with_holder(error, &by))?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}

/// Who holds what is claimed by another is told to operators alone.
pub(super) fn with_holder<E: RefusalCode>(error: CommandError<E>, by: &Principal) -> Problem {
    let holder = match &error {
        CommandError::Claimed { holder, .. } if by.may(OPERATE) => Some(holder.id().to_owned()),
        _ => None,
    };
    let problem = Problem::from(error);
    match holder {
        Some(holder) => problem.member("holder", holder),
        None => problem,
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
