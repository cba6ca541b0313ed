//! Status of deferred commands and of their callbacks, as [`crate::CommandStatus`] serialises it.
//!
//! That type is below `web` and does not know OpenAPI. A test compares the two.

use std::collections::BTreeMap;

use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::values;

/// The id of a deferred command, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a part of the path")]
pub struct CommandId {
    /// Id of the command.
    #[param(schema_with = values::command_id)]
    id: String,
}

/// Status of a deferred command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `crate::CommandStatus` writes")]
pub struct CommandStatus {
    /// Id of the command.
    id: String,
    /// Type of the target aggregate, such as `account`.
    aggregate_type: String,
    /// Id of the target aggregate.
    aggregate_id: String,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// Time before which the command is not carried out, if it was scheduled.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    /// Progress of the command.
    status: CommandState,
    /// If committed: version of the aggregate after the command.
    version: Option<u64>,
    /// If committed: position of the command in the log.
    position: Option<u64>,
    /// If refused: reason for programs.
    code: Option<String>,
    /// If refused: reason for people.
    detail: Option<String>,
    /// If failed: kind of the failure.
    reason: Option<String>,
    callback: Option<CallbackStatus>,
}

/// State of a command.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what `crate::CommandState` writes")]
pub enum CommandState {
    Accepted,
    Committed,
    Refused,
    Failed,
}

/// State of the callback.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `crate::CallbackStatus` writes")]
pub struct CallbackStatus {
    status: CallbackState,
    /// Number of attempts so far.
    attempts: u32,
    /// Error of the last attempt.
    last_error: Option<String>,
    /// Time of the next attempt.
    #[schema(format = DateTime)]
    next_at: Option<String>,
}

/// State of a callback.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what `crate::CallbackState` writes")]
pub enum CallbackState {
    Due,
    Delivered,
    GivenUp,
}

/// 200: the status of a command.
pub struct Status;

impl IntoResponses for Status {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let body = Content::new(Some(Ref::from_schema_name("CommandStatus")));
        let told = ResponseBuilder::new()
            .description("As the log tells it now")
            .content("application/json", body);
        BTreeMap::from([("200".to_owned(), told.build().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::OffsetDateTime;
    use utoipa::PartialSchema;

    use crate::deferred as real;
    use crate::event::{GlobalPosition, StreamVersion};

    /// The members of an object that is described so.
    fn members(schema: &impl serde::Serialize) -> Vec<String> {
        let schema = serde_json::to_value(schema).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn variants(schema: &impl serde::Serialize) -> Value {
        serde_json::to_value(schema).unwrap()["enum"].clone()
    }

    #[test]
    fn what_is_described_is_what_is_serialised() {
        let (version, position) = (StreamVersion(1), GlobalPosition(1));
        let text = || "x".to_owned();
        let states = [
            real::CommandState::Accepted,
            real::CommandState::Committed { version, position },
            real::CommandState::Refused { code: text(), detail: text() },
            real::CommandState::Failed { reason: text() },
        ];
        let callback = real::CallbackStatus {
            status: real::CallbackState::GivenUp,
            attempts: 1,
            last_error: Some(text()),
            next_at: Some(OffsetDateTime::UNIX_EPOCH),
        };
        let described = members(&super::CommandStatus::schema());
        let mut seen = Vec::new();
        for state in states {
            let status = real::CommandStatus {
                id: text(),
                aggregate_type: text(),
                aggregate_id: text(),
                accepted_at: OffsetDateTime::UNIX_EPOCH,
                due_at: Some(OffsetDateTime::UNIX_EPOCH),
                actor: None,
                state,
                callback: Some(callback.clone()),
            };
            let status = serde_json::to_value(&status).unwrap();
            seen.push(status["status"].clone());
            for member in status.as_object().unwrap().keys() {
                assert!(described.contains(member), "{member} is not described");
            }
        }
        assert_eq!(variants(&super::CommandState::schema()), Value::from(seen));
        let callback = serde_json::to_value(&callback).unwrap();
        let mut written: Vec<_> = callback.as_object().unwrap().keys().cloned().collect();
        let mut described = members(&super::CallbackStatus::schema());
        written.sort();
        described.sort();
        assert_eq!(written, described);
        let all = [
            real::CallbackState::Due,
            real::CallbackState::Delivered,
            real::CallbackState::GivenUp,
        ];
        assert_eq!(variants(&super::CallbackState::schema()), json!(all));
    }
}
