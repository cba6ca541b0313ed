//! Command of a request: carried out at once, or accepted to be carried out later if the client
//! prefers that.
//!
//! A handler names the aggregate and passes the command. This extractor handles the headers.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::web::{Data, Path};
use actix_web::{FromRequest, HttpRequest};
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::answer::CommandAnswer;
use super::callback_address::address_of;
use super::command_headers::CommandHeaders;
use super::prefer::Accepted;
use super::principal::Principal;
use super::problem::Problem;
use crate::aggregate::Aggregate;
use crate::application::Application;
use crate::command::RefusalCode;
use crate::error::CommandError;

/// The aggregate of the type `A` that a request is for: an extractor. The id is the path's `{id}`,
/// or the one given to [`CommandTo::with_id`]. The extractor reads the headers of a command:
/// `Idempotency-Key`, `If-Match`, `Prefer` and those for tracing. The error of the aggregate needs
/// [`RefusalCode`].
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// # use actum::web::{CommandAnswer, CommandTo, JsonBody, NoBody, Problem, RefusalCode};
/// # use serde::{Deserialize, Serialize};
/// # impl RefusalCode for InsufficientFunds {}
/// #[derive(Serialize, Deserialize)]
/// struct Opening {
///     id: Option<String>,
///     cents: i64,
/// }
///
/// /// `POST /accounts`: the client may choose the id.
/// async fn open(
///     account: CommandTo<Account>,
///     body: JsonBody<Opening>,
/// ) -> Result<CommandAnswer, Problem> {
///     let command = Command::Credit { cents: body.cents };
///     let answer = account.with_id(body.id.clone()).execute(command, &body).await?;
///     Ok(answer.created_at("/accounts"))
/// }
///
/// /// `POST /accounts/{id}/empty`
/// async fn empty(account: CommandTo<Account>, _: NoBody) -> Result<CommandAnswer, Problem> {
///     account.execute(Command::Withdraw { cents: 100 }, &()).await
/// }
/// ```
pub struct CommandTo<A> {
    app: Data<Application>,
    headers: CommandHeaders,
    id: Option<String>,
    is_operator: bool,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate<Error: RefusalCode>> CommandTo<A> {
    /// Selects the aggregate with this id. Without an id, a new one is generated. Requests with the
    /// same `Idempotency-Key` get the same id, so a retry does not create a second aggregate.
    #[must_use]
    pub fn with_id(self, id: Option<String>) -> Self {
        let id = id.unwrap_or_else(|| self.headers.new_id());
        Self { id: Some(id), ..self }
    }

    /// Carries out the command. `body` is the body of the request, or `&()` if it has none: an
    /// `Idempotency-Key` is bound to it, so the same key with another body is refused. If the client
    /// sends `Prefer: respond-async` and the commands of `A` [can be
    /// deferred](crate::ApplicationBuilder::answers_later), the command is stored and the response
    /// is a 202.
    ///
    /// # Errors
    /// [`Problem`] of the [`CommandError`]. Operators see the holder of a claim that was refused.
    pub async fn execute(
        self,
        command: A::Command,
        body: &impl Serialize,
    ) -> Result<CommandAnswer, Problem> {
        let Self { app, headers, id, is_operator, .. } = self;
        let options = headers.options(body)?;
        let id = id.ok_or_else(Problem::no_id)?;
        let prefers = headers.respond_async().filter(|_| app.answers_later::<A>());
        let Some(applied) = prefers else {
            let committed = app.execute_with::<A>(&id, command, options).await;
            let committed = committed.map_err(|error| with_holder(error, is_operator))?;
            return Ok(CommandAnswer::done(id, committed));
        };
        let callback = match applied.callback {
            true => Some(callback(&app, options.metadata.actor.as_deref()).await?),
            false => None,
        };
        let accepted = app.defer::<A>(&id, &command, options, callback).await;
        let id = accepted.map_err(|error| with_holder(error, is_operator))?;
        Ok(CommandAnswer::accepted(Accepted { id, applied }))
    }
}

/// Returns the URL that the client has registered for callbacks.
async fn callback(app: &Application, actor: Option<&str>) -> Result<String, Problem> {
    let address = match actor {
        Some(actor) => address_of(app, actor).await?,
        None => None,
    };
    address.ok_or_else(|| {
        Problem::new(422, "no_callback", "register where to be called first: PUT /callback")
    })
}

/// Converts the error. Only operators see the holder of a claim.
fn with_holder<E: RefusalCode>(error: CommandError<E>, is_operator: bool) -> Problem {
    let holder = match &error {
        CommandError::Claimed { holder, .. } if is_operator => Some(holder.id().to_owned()),
        _ => None,
    };
    let problem = Problem::from(error);
    match holder {
        Some(holder) => problem.member("holder", holder),
        None => problem,
    }
}

#[derive(Deserialize)]
struct InPath {
    id: String,
}

impl<A> CommandTo<A> {
    fn of(request: &HttpRequest) -> Result<Self, actix_web::Error> {
        let app = Data::<Application>::extract(request).into_inner()?;
        let id = match request.match_info().get("id") {
            // Extracted by actix, because the text in the path is not decoded yet.
            Some(_) => Some(Path::<InPath>::extract(request).into_inner()?.into_inner().id),
            None => None,
        };
        let access = request.app_data::<Data<Access>>();
        let principal = Principal::of(request);
        let is_operator =
            access.zip(principal).is_some_and(|(access, principal)| access.is_operator(&principal));
        let headers = CommandHeaders::extract(request).into_inner()?;
        Ok(Self { app, headers, id, is_operator, aggregate: PhantomData })
    }
}

impl<A: 'static> FromRequest for CommandTo<A> {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl Problem {
    /// A handler of a path without an id has named none either.
    fn no_id() -> Self {
        Self::internal(&"a handler has to name the aggregate: CommandTo::with_id")
    }
}
