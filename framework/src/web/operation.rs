//! Converts the errors of operators' requests to problem documents.

use super::problem::Problem;
use crate::error::OperationError;

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let (status, code) = match &error {
            OperationError::Unknown { .. } => (404, "no_such_subscription"),
            OperationError::UnknownCommand { .. } => (404, "unknown_command"),
            OperationError::UnknownInstance { .. } => (404, "unknown_instance"),
            OperationError::NotParked { .. } => (404, "not_parked"),
            OperationError::Behind { .. } => (409, "behind"),
            OperationError::Serves { .. } => (409, "serves"),
            OperationError::Running { .. } => (409, "running"),
            OperationError::NotPaused { .. } => (409, "not_paused"),
            OperationError::NotReplayable { .. } => (422, "not_replayable"),
            OperationError::ReplayPosition { .. } => (422, "replay_position"),
            OperationError::Nul { .. } => (400, "nul_character"),
            OperationError::NoReason => (422, "no_reason"),
            OperationError::Unavailable(store) => return Self::of_store(store),
        };
        Self::new(status, code, error.to_string())
    }
}
