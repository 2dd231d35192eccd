//! The documented sample in Rust: actix-web, awc and jsonwebtoken, with the checks of the sample only; with `LOG=1` actix's
//! access log on standard error, which the driver writes to a file.

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::middleware::Logger;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use awc::Client;
use proconf_bench_peers::{Tokens, address, from_env};
use serde_json::{Value, json};

struct Context {
    client: Client,
    admin_control: String,
}

async fn call_catch_up(
    request: HttpRequest,
    room: web::Path<String>,
    tokens: web::Data<Tokens>,
    context: web::Data<Context>,
) -> HttpResponse {
    if tokens.claims(request.headers().get(AUTHORIZATION)).is_none() {
        return failure(HttpResponse::Unauthorized(), 401, "Unauthorized");
    }
    match fetch(&context, &room).await {
        Some(data) => HttpResponse::Ok().json(json!({ "error": null, "data": data })),
        None => failure(HttpResponse::InternalServerError(), 500, "Internal server error"),
    }
}

async fn fetch(context: &Context, room: &str) -> Option<Value> {
    let url = format!("{}/call-catchup/{room}", context.admin_control);
    let request = context.client.get(url).insert_header((CONTENT_TYPE, "application/json"));
    let mut envelope: Value = request.send().await.ok()?.json().await.ok()?;
    envelope["error"].is_null().then(|| envelope["data"].take())
}

fn failure(mut response: actix_web::HttpResponseBuilder, code: u16, message: &str) -> HttpResponse {
    response.json(json!({ "data": null, "error": { "code": code, "message": message } }))
}

fn main() -> std::io::Result<()> {
    let tokens = web::Data::new(Tokens::from_env());
    let app = move || {
        // awc's client belongs to one worker.
        let context = Context { client: Client::default(), admin_control: from_env("ADMIN_CONTROL_URL") };
        App::new()
            .app_data(tokens.clone())
            .app_data(web::Data::new(context))
            .route("/callCatchUp/{roomName}", web::get().to(call_catch_up))
    };
    actix_web::rt::System::new().block_on(async {
        if std::env::var_os("LOG").is_none() {
            return HttpServer::new(app).bind(address())?.run().await;
        }
        env_logger::Builder::new().parse_filters("actix_web=info").init();
        HttpServer::new(move || app().wrap(Logger::default())).bind(address())?.run().await
    })
}
