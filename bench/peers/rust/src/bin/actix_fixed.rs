//! The framework without logic: actix-web with a fixed body of 2 KB, and with `JWT=1` a token check.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use proconf_bench_peers::{Tokens, address};

const BODY_BYTES: usize = 2048;

struct Fixed {
    body: web::Bytes,
    tokens: Option<Tokens>,
}

async fn respond(request: HttpRequest, fixed: web::Data<Fixed>) -> HttpResponse {
    if let Some(tokens) = &fixed.tokens {
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if tokens.claims(authorization).is_none() {
            return HttpResponse::Unauthorized().finish();
        }
    }
    HttpResponse::Ok().content_type("application/json").body(fixed.body.clone())
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let (start, end) = (r#"{"error":null,"data":""#, r#""}"#);
    let body = format!("{start}{}{end}", ".".repeat(BODY_BYTES - start.len() - end.len()));
    let tokens = std::env::var_os("JWT").map(|_| Tokens::from_env());
    let fixed = web::Data::new(Fixed { body: body.into(), tokens });
    HttpServer::new(move || App::new().app_data(fixed.clone()).route("/callCatchUp/{roomName}", web::get().to(respond)))
        .bind(address())?
        .run()
        .await
}
