//! The documented sample on another Rust stack: axum, reqwest (with rustls, for `https`) and jsonwebtoken.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use proconf_bench_peers::{Tokens, address, from_env};
use reqwest::Client;
use serde_json::{Value, json};

struct Context {
    client: Client,
    admin_control: String,
    tokens: Tokens,
}

async fn call_catch_up(State(context): State<Arc<Context>>, Path(room): Path<String>, headers: HeaderMap) -> Response {
    if context.tokens.claims(headers.get(AUTHORIZATION)).is_none() {
        return failure(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    match fetch(&context, &room).await {
        Some(data) => Json(json!({ "error": null, "data": data })).into_response(),
        None => failure(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
    }
}

async fn fetch(context: &Context, room: &str) -> Option<Value> {
    let url = format!("{}/call-catchup/{room}", context.admin_control);
    let request = context.client.get(url).header(CONTENT_TYPE, "application/json");
    let mut envelope: Value = request.send().await.ok()?.json().await.ok()?;
    envelope["error"].is_null().then(|| envelope["data"].take())
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "data": null, "error": { "code": status.as_u16(), "message": message } }))).into_response()
}

fn main() -> std::io::Result<()> {
    // One thread for each core, like the other peers.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let context =
            Context { client: Client::new(), admin_control: from_env("ADMIN_CONTROL_URL"), tokens: Tokens::from_env() };
        let app = Router::new().route("/callCatchUp/{roomName}", get(call_catch_up)).with_state(Arc::new(context));
        axum::serve(tokio::net::TcpListener::bind(address()).await?, app).await
    })
}
