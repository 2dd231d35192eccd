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
    if let Some(tokens) = &fixed.tokens
        && tokens.claims(request.headers().get(AUTHORIZATION)).is_none()
    {
        return HttpResponse::Unauthorized().finish();
    }
    HttpResponse::Ok().content_type("application/json").body(fixed.body.clone())
}

fn main() -> std::io::Result<()> {
    let (start, end) = (r#"{"error":null,"data":""#, r#""}"#);
    let body = format!("{start}{}{end}", ".".repeat(BODY_BYTES - start.len() - end.len()));
    let tokens = std::env::var_os("JWT").map(|_| Tokens::from_env());
    let fixed = web::Data::new(Fixed { body: body.into(), tokens });
    let app = move || App::new().app_data(fixed.clone()).route("/callCatchUp/{roomName}", web::get().to(respond));
    actix_web::rt::System::new().block_on(async { HttpServer::new(app).bind(address())?.run().await })
}
