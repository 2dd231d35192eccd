//! `GET /meetings`: the meetings that ended.

use actix_web::web;
use serde_json::json;

use crate::answer::Served;
use crate::asker::Asker;
use crate::openapi::Operation;
use crate::pass_through::PassThrough;
use crate::responders::ApiError;

pub(super) async fn list(asker: Asker, pass_through: web::Data<PassThrough>) -> Result<Served, ApiError> {
    Ok(pass_through.meetings(&asker).await?)
}

pub(super) fn document() -> Operation {
    let time = json!({"type": "string", "format": "date-time"});
    let schema = json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["room_name", "unique_id", "created_at", "destroyed_at"],
            "properties": {
                "room_name": {"type": "string"},
                "unique_id": {"type": "string", "description": "One meeting; a room may have had several."},
                "created_at": time,
                "destroyed_at": time,
            },
        },
    });
    let example = json!([{
        "room_name": "r1",
        "unique_id": "r1_1718871014",
        "created_at": "2024-06-20T08:10:14.000Z",
        "destroyed_at": "2024-06-20T08:10:34.000Z",
    }]);
    Operation::new("meetings", "Calls").kept().answers(&schema, &example).fails([ApiError::NotFound])
}
