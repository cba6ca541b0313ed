//! Stories of process managers in the operations API: everything that happened to one instance.

use std::collections::BTreeMap;

use actix_web::web::{Json, Path};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::App;
use crate::event::{GlobalPosition, StreamVersion};
use crate::process::{Story, StoryStep};
use crate::web::problem::Problem;

/// A story, as JSON.
#[derive(Serialize)]
pub(super) struct StoryBody {
    state: Value,
    is_complete: bool,
    /// Times of the deadlines that are set, by name.
    deadlines: BTreeMap<String, Moment>,
    steps: Vec<StepBody>,
    position: GlobalPosition,
}

/// A time in UTC, as text.
#[derive(Serialize)]
struct Moment(#[serde(with = "rfc3339")] OffsetDateTime);

/// One event of the story, and the commands and deadlines that it led to.
#[derive(Serialize)]
struct StepBody {
    position: GlobalPosition,
    stream: String,
    version: StreamVersion,
    r#type: String,
    data: Box<RawValue>,
    #[serde(with = "rfc3339")]
    recorded_at: OffsetDateTime,
    effects: Vec<String>,
}

pub(super) async fn story(
    app: App,
    path: Path<(String, String)>,
) -> Result<Json<StoryBody>, Problem> {
    let (name, key) = &*path;
    let Story { state, is_complete, deadlines, steps, position, .. } =
        app.operations().story(name, key).await?;
    let deadlines = deadlines.into_iter().map(|(name, at)| (name, Moment(at))).collect();
    let steps = steps.into_iter().map(StepBody::of).collect::<Result<_, _>>()?;
    Ok(Json(StoryBody { state, is_complete, deadlines, steps, position }))
}

impl StepBody {
    fn of(StoryStep { event, effects, .. }: StoryStep) -> Result<Self, Problem> {
        let data = RawValue::from_string(event.payload.clone());
        Ok(Self {
            position: event.position,
            stream: event.stream.to_string(),
            version: event.version,
            r#type: event.event_type.clone(),
            data: data.map_err(|error| Problem::internal(&error))?,
            recorded_at: event.recorded_at,
            effects,
        })
    }
}
