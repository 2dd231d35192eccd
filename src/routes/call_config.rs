//! `GET /callConfig`: the features that are turned on.

use actix_web::web;
use serde_json::{Value, json};

use crate::answer::Served;
use crate::asker::Asker;
use crate::openapi::Operation;
use crate::pass_through::PassThrough;
use crate::responders::ApiError;

pub(super) async fn show(asker: Asker, pass_through: web::Data<PassThrough>) -> Result<Served, ApiError> {
    Ok(pass_through.configuration(&asker).await?)
}

pub(super) fn document() -> Operation {
    let features = [
        "audio_call",
        "video_call",
        "live_chat",
        "waiting_room",
        "screen_sharing",
        "desktop_streaming",
        "moderator_control",
        "transcript",
        "auto_centering",
        "client_side_recording",
        "server_side_recording",
    ];
    let of_each = |value: Value| Value::Object(features.map(|name| (name.to_owned(), value.clone())).into_iter().collect());
    let schema = json!({
        "type": "object",
        "required": ["features"],
        "properties": {"features": {"type": "object", "properties": of_each(json!({"type": "boolean"}))}},
    });
    Operation::new("callConfig", "Calls")
        .kept()
        .answers(&schema, &json!({"features": of_each(true.into())}))
        .fails([ApiError::NotFound])
}
