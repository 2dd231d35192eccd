//! THE TABLE: every route of the server, one row each.
//!
//! From a row follow the mounting, the 404 on other methods, the 401 check and the OpenAPI entry. A new route is a new file, its `mod` line
//! and its row; CONTRIBUTING.md walks through one. Handlers name no other handler and no database.

mod auth;
mod body;
mod call_catch_up;
mod call_catch_up_live;
mod call_config;
mod call_status;
mod call_summary;
mod console;
mod docs;
mod health;
mod join_member;
mod meetings;
mod metrics;
mod openapi;
mod proconf_token;
mod room_param;
mod stream_ticket;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{Resource, Route, web};

use crate::middleware::access_log::Answers;
use crate::middleware::authenticate::{authenticate, authenticate_stream, users_only};
use crate::openapi::Operation;
use crate::responders::ApiError;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody, with no token.
    Anyone,
    /// The holder of a valid token, a user or a guest. What a guest may see is decided behind the handler.
    Caller,
    /// The same, or the holder of a ticket, who comes without a header.
    CallerOrTicket,
    /// A user; a guest is 403.
    User,
}

/// One route.
pub struct Row {
    /// The method. Any other one on the same path is 404.
    pub method: Method,
    /// The paths, the first one being the documented one. `{roomName}` stands for one segment, the second, which may be empty.
    pub paths: &'static [&'static str],
    /// Who may call it.
    pub who: Who,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Its piece of the OpenAPI document, said next to its handler.
    pub document: fn() -> Operation,
    handler: fn(Route) -> Route,
}

/// Every route.
#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    Row { method: Method::GET, paths: &["/callCatchUp/{roomName}", "/callCatchUp"], who: Who::Caller,
          summary: "What was said so far in a call that is going on.",
          document: call_catch_up::document, handler: |route| route.to(call_catch_up::show) },
    Row { method: Method::POST, paths: &["/auth/login"], who: Who::Anyone,
          summary: "Signs a user in with e-mail and password.",
          document: auth::log_in_document, handler: |route| route.to(auth::log_in) },
    Row { method: Method::POST, paths: &["/auth/refresh"], who: Who::Anyone,
          summary: "Carries a session on with a new refresh token.",
          document: auth::refresh_document, handler: |route| route.to(auth::refresh) },
    Row { method: Method::POST, paths: &["/auth/logout"], who: Who::Anyone,
          summary: "Ends a session.",
          document: auth::log_out_document, handler: |route| route.to(auth::log_out) },
    Row { method: Method::GET, paths: &["/auth/joinmember"], who: Who::Anyone,
          summary: "Lets a guest into one room.",
          document: join_member::document, handler: |route| route.to(join_member::create) },
    Row { method: Method::POST, paths: &["/proconfToken"], who: Who::Caller,
          summary: "Issues the token to join a call with.",
          document: proconf_token::document, handler: |route| route.to(proconf_token::create) },
    Row { method: Method::GET, paths: &["/callConfig"], who: Who::Caller,
          summary: "The features that are turned on.",
          document: call_config::document, handler: |route| route.to(call_config::show) },
    Row { method: Method::GET, paths: &["/callStatus", "/callStatus/{roomName}"], who: Who::Caller,
          summary: "Whether a call is transcribed and recorded.",
          document: call_status::document, handler: |route| route.to(call_status::show) },
    Row { method: Method::GET, paths: &["/callCatchUp/{roomName}/live"], who: Who::CallerOrTicket,
          summary: "What was said so far, and each new version of it as it appears.",
          document: call_catch_up_live::document, handler: |route| route.to(call_catch_up_live::follow) },
    Row { method: Method::POST, paths: &["/auth/streamticket"], who: Who::Caller,
          summary: "A ticket to follow one room's catch-up without a header.",
          document: stream_ticket::document, handler: |route| route.to(stream_ticket::create) },
    Row { method: Method::GET, paths: &["/callSummary/{roomName}", "/callSummary"], who: Who::Caller,
          summary: "The summary of a call that ended.",
          document: call_summary::document, handler: |route| route.to(call_summary::show) },
    Row { method: Method::GET, paths: &["/meetings"], who: Who::User,
          summary: "The meetings that ended.",
          document: meetings::document, handler: |route| route.to(meetings::list) },
    Row { method: Method::GET, paths: &["/openapi.json"], who: Who::Anyone,
          summary: "This API as an OpenAPI document.",
          document: openapi::document, handler: |route| route.to(openapi::show) },
    Row { method: Method::GET, paths: &["/docs"], who: Who::Anyone,
          summary: "A page to read this API and to try it.",
          document: docs::document, handler: |route| route.to(docs::page) },
    Row { method: Method::GET, paths: &["/docs/{edition}/{file}"], who: Who::Anyone,
          summary: "What that page is made of.",
          document: Operation::undocumented, handler: |route| route.to(docs::file) },
    Row { method: Method::GET, paths: &["/"], who: Who::Anyone,
          summary: "The console, a page for browsers.",
          document: Operation::undocumented, handler: |route| route.to(console::page) },
    Row { method: Method::GET, paths: &["/console/{edition}/{file}"], who: Who::Anyone,
          summary: "The console's scripts, styles and pictures.",
          document: Operation::undocumented, handler: |route| route.to(console::asset) },
    Row { method: Method::GET, paths: &["/health/live"], who: Who::Anyone,
          summary: "Whether the server is alive.",
          document: health::live_document, handler: |route| route.to(health::live) },
    Row { method: Method::GET, paths: &["/health/ready"], who: Who::Anyone,
          summary: "Whether the server is ready for requests.",
          document: health::ready_document, handler: |route| route.to(health::ready) },
    Row { method: Method::HEAD, paths: &["/health/live"], who: Who::Anyone,
          summary: "The same for those who want no body.",
          document: Operation::undocumented, handler: |route| route.to(health::live) },
    Row { method: Method::HEAD, paths: &["/health/ready"], who: Who::Anyone,
          summary: "The same for those who want no body.",
          document: Operation::undocumented, handler: |route| route.to(health::ready) },
];

/// What the management listener answers, and nobody else.
#[rustfmt::skip]
pub static MANAGEMENT: &[Row] = &[
    Row { method: Method::GET, paths: &["/metrics"], who: Who::Anyone,
          summary: "What is counted and measured.",
          document: Operation::undocumented, handler: |route| route.to(metrics::show) },
    Row { method: Method::GET, paths: &["/health/live"], who: Who::Anyone,
          summary: "Whether the server is alive.",
          document: Operation::undocumented, handler: |route| route.to(health::live) },
    Row { method: Method::GET, paths: &["/health/ready"], who: Who::Anyone,
          summary: "Whether the server is ready for requests, and how Admin Control is.",
          document: Operation::undocumented, handler: |route| route.to(health::ready_in_detail) },
    Row { method: Method::HEAD, paths: &["/health/live"], who: Who::Anyone,
          summary: "The same for those who want no body.",
          document: Operation::undocumented, handler: |route| route.to(health::live) },
    Row { method: Method::HEAD, paths: &["/health/ready"], who: Who::Anyone,
          summary: "The same for those who want no body.",
          document: Operation::undocumented, handler: |route| route.to(health::ready) },
];

/// Mounts the table.
pub fn mount(config: &mut web::ServiceConfig) {
    mount_all(TABLE, config);
}

/// Mounts what is for the management listener.
pub fn mount_management(config: &mut web::ServiceConfig) {
    mount_all(MANAGEMENT, config);
}

/// A path with several methods becomes one resource: of two with one path actix would see only the first.
fn mount_all(table: &'static [Row], config: &mut web::ServiceConfig) {
    let mut mounted: Vec<&str> = Vec::new();
    for &path in table.iter().flat_map(|row| row.paths) {
        if !mounted.contains(&path) {
            mounted.push(path);
            config.service(resource(table, path));
        }
    }
    config.default_service(web::to(not_found));
}

fn resource(table: &'static [Row], path: &str) -> Resource {
    let pattern = path.replace("{roomName}", "{roomName:[^/]*}");
    let rows = table.iter().enumerate().filter(|(_, row)| row.paths.contains(&path));
    // Without a default of its own, a resource answers a wrong method with 405.
    let resource = web::resource(pattern).default_service(web::to(not_found));
    rows.fold(resource, |resource, (place, row)| resource.route(route(place, row)))
}

fn route(place: usize, row: &Row) -> Route {
    // Guards are asked in their order: who gets to the second one is answered by this row.
    let route = web::route().method(row.method.clone()).guard(Answers(place));
    let route = (row.handler)(route);
    match row.who {
        Who::Anyone => route,
        Who::Caller => route.wrap(from_fn(authenticate)),
        Who::CallerOrTicket => route.wrap(from_fn(authenticate_stream)),
        // The last one is outermost.
        Who::User => route.wrap(from_fn(users_only)).wrap(from_fn(authenticate)),
    }
}

async fn not_found() -> Result<&'static str, ApiError> {
    Err(ApiError::NotFound)
}
