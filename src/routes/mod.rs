//! The route table: every route of the server, one row each.
//!
//! The 404 on other methods and the 401 without a token follow from a row. A new route is a file, its `mod` line and its row;
//! CONTRIBUTING.md has an example. A test compares the table with the OpenAPI document.

mod auth;
mod call_catch_up;
mod call_catch_up_live;
mod call_config;
mod call_status;
mod call_summary;
pub(crate) mod console;
mod docs;
mod health;
mod invitations;
mod join_member;
mod meetings;
mod metrics;
pub mod openapi;
mod proconf_token;
mod stream_ticket;

use actix_web::guard::{GuardContext, fn_guard};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{Resource, Route, web};

use crate::middleware::authenticate::{authenticate, authenticate_stream, users_only};
use crate::middleware::request_log::record_route;
use crate::response::ApiError;

/// Which credentials a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None.
    Public,
    /// A valid token of a user or a guest. `auth::room_access` decides which rooms it covers.
    Token,
    /// A valid token, or a stream ticket in the query.
    TokenOrTicket,
    /// A user's token; a guest's is 403.
    User,
    /// A valid token, or an API key with the scope of invitations.
    TokenOrApiKey,
}

/// One row of the table.
pub struct RouteRow {
    /// The method. Any other one on the same path is 404.
    pub method: Method,
    /// The paths. `{roomName}` is one segment, the second, and may be empty.
    pub paths: Paths,
    /// The credentials that it requires.
    pub access: Access,
    handler: fn(Route) -> Route,
}

type Paths = &'static [&'static str];

const fn get(paths: Paths, access: Access, handler: fn(Route) -> Route) -> RouteRow {
    RouteRow { method: Method::GET, paths, access, handler }
}

const fn head(paths: Paths, access: Access, handler: fn(Route) -> Route) -> RouteRow {
    RouteRow { method: Method::HEAD, paths, access, handler }
}

const fn post(paths: Paths, access: Access, handler: fn(Route) -> Route) -> RouteRow {
    RouteRow { method: Method::POST, paths, access, handler }
}

const fn delete(paths: Paths, access: Access, handler: fn(Route) -> Route) -> RouteRow {
    RouteRow { method: Method::DELETE, paths, access, handler }
}

/// The login with a password. Without it, the path is unknown.
const LOGIN: &str = "/auth/login";

/// Whether users may log in with e-mail and password (`APP_AUTH__PASSWORD_LOGIN`).
pub(crate) struct PasswordLogin(pub bool);

/// Every route of the main listener.
pub static TABLE: &[RouteRow] = &[
    // Calls
    get(&["/callCatchUp/{roomName}", "/callCatchUp"], Access::Token, |route| route.to(call_catch_up::show)),
    get(&["/callCatchUp/{roomName}/live"], Access::TokenOrTicket, |route| route.to(call_catch_up_live::follow)),
    get(&["/callStatus/{roomName}", "/callStatus"], Access::Token, |route| route.to(call_status::show)),
    get(&["/callSummary/{roomName}", "/callSummary"], Access::Token, |route| route.to(call_summary::show)),
    get(&["/callConfig"], Access::Token, |route| route.to(call_config::show)),
    get(&["/meetings"], Access::User, |route| route.to(meetings::list)),
    post(&["/proconfToken"], Access::Token, |route| route.to(proconf_token::create)),
    // Sessions and guests
    post(&[LOGIN], Access::Public, |route| route.to(auth::log_in)),
    post(&["/auth/refresh"], Access::Public, |route| route.to(auth::refresh)),
    post(&["/auth/logout"], Access::Public, |route| route.to(auth::log_out)),
    get(&["/auth/joinmember"], Access::Public, |route| route.to(join_member::create)),
    post(&["/auth/invitations"], Access::TokenOrApiKey, |route| route.to(invitations::create)),
    delete(&["/auth/invitations/{id}"], Access::TokenOrApiKey, |route| route.to(invitations::revoke)),
    post(&["/auth/streamticket"], Access::Token, |route| route.to(stream_ticket::create)),
    // The API's document, and the pages for browsers
    get(&["/openapi.json"], Access::Public, |route| route.to(openapi::show)),
    get(&["/docs"], Access::Public, |route| route.to(docs::page)),
    get(&["/docs/"], Access::Public, |route| route.to(docs::redirect)),
    get(&["/docs/{edition}/{file}"], Access::Public, |route| route.to(docs::asset)),
    get(&["/"], Access::Public, |route| route.to(console::page)),
    get(&["/console/settings"], Access::Public, |route| route.to(console::settings)),
    get(&["/console/{edition}/{file}"], Access::Public, |route| route.to(console::asset)),
    head(&["/openapi.json"], Access::Public, |route| route.to(openapi::show)),
    head(&["/docs"], Access::Public, |route| route.to(docs::page)),
    head(&["/docs/"], Access::Public, |route| route.to(docs::redirect)),
    head(&["/docs/{edition}/{file}"], Access::Public, |route| route.to(docs::asset)),
    head(&["/"], Access::Public, |route| route.to(console::page)),
    head(&["/console/{edition}/{file}"], Access::Public, |route| route.to(console::asset)),
    // Health
    get(&["/health/live"], Access::Public, |route| route.to(health::live)),
    get(&["/health/ready"], Access::Public, |route| route.to(health::ready)),
    head(&["/health/live"], Access::Public, |route| route.to(health::live)),
    head(&["/health/ready"], Access::Public, |route| route.to(health::ready)),
];

/// Every route of the management listener.
pub static MANAGEMENT: &[RouteRow] = &[
    get(&["/metrics"], Access::Public, |route| route.to(metrics::show)),
    get(&["/health/live"], Access::Public, |route| route.to(health::live)),
    get(&["/health/ready"], Access::Public, |route| route.to(health::ready_in_detail)),
    head(&["/health/live"], Access::Public, |route| route.to(health::live)),
    head(&["/health/ready"], Access::Public, |route| route.to(health::ready)),
];

/// Mounts a table, with one resource per path.
///
/// actix-web routes to the first resource of a path only.
pub fn mount(table: &'static [RouteRow], config: &mut web::ServiceConfig) {
    let mut mounted: Vec<&str> = Vec::new();
    for &path in table.iter().flat_map(|row| row.paths) {
        if !mounted.contains(&path) {
            mounted.push(path);
            config.service(resource(table, path));
        }
    }
    config.default_service(web::to(unknown_route));
}

fn resource(table: &'static [RouteRow], path: &str) -> Resource {
    let pattern = path.replace("{roomName}", "{roomName:[^/]*}");
    let rows = table.iter().enumerate().filter(|(_, row)| row.paths.contains(&path));
    // Without a default of its own, a resource responds to a wrong method with 405.
    let resource = web::resource(pattern).default_service(web::to(unknown_method));
    let resource = if path == LOGIN { resource.guard(fn_guard(has_password_login)) } else { resource };
    rows.fold(resource, |resource, (index, row)| resource.route(route(index, row)))
}

fn has_password_login(context: &GuardContext<'_>) -> bool {
    context.app_data::<web::Data<PasswordLogin>>().is_none_or(|password_login| password_login.0)
}

fn route(index: usize, row: &RouteRow) -> Route {
    // Guards run in their order, so the second one sees matching requests only.
    let route = web::route().method(row.method.clone()).guard(record_route(index));
    let route = (row.handler)(route);
    match row.access {
        Access::Public => route,
        Access::Token | Access::TokenOrApiKey => route.wrap(from_fn(authenticate)),
        Access::TokenOrTicket => route.wrap(from_fn(authenticate_stream)),
        // The last one is outermost.
        Access::User => route.wrap(from_fn(users_only)).wrap(from_fn(authenticate)),
    }
}

async fn unknown_route() -> Result<&'static str, ApiError> {
    Err(ApiError::UnknownRoute)
}

async fn unknown_method() -> Result<&'static str, ApiError> {
    Err(ApiError::UnknownMethod)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// Routes for browsers, and the second method of a documented path.
    fn is_undocumented(row: &RouteRow, path: &str) -> bool {
        row.method == Method::HEAD || path.ends_with('/') || path.ends_with("/{file}") || path.starts_with("/console/")
    }

    /// Every operation of the document, by method and path.
    fn operations() -> BTreeMap<String, Value> {
        let document: Value = serde_json::from_str(crate::routes::openapi::DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods.iter().map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
        });
        operations.collect()
    }

    #[test]
    fn every_route_is_documented_with_its_credentials() {
        let mut operations = operations();
        for row in TABLE {
            for path in row.paths.iter().filter(|path| !is_undocumented(row, path)) {
                let name = format!("{} {path}", row.method);
                let operation = operations.remove(&name).unwrap_or_else(|| panic!("{name} is not in docs/openapi.json"));
                let security = match row.access {
                    Access::Public => json!([]),
                    Access::Token | Access::User => json!([{"token": []}]),
                    Access::TokenOrTicket => json!([{"token": []}, {"ticket": []}]),
                    Access::TokenOrApiKey => json!([{"token": []}, {"apiKey": []}]),
                };
                assert_eq!(operation["security"], security, "{name}");
                let statuses = &operation["responses"];
                assert!(row.access == Access::Public || statuses["401"].is_object(), "{name}");
                assert!(row.access != Access::User || statuses["403"].is_object(), "{name}");
                assert!(statuses["500"].is_object() && statuses["503"].is_object(), "{name}");
                assert_eq!(path.contains("{roomName}"), operation.to_string().contains("RoomInPath"), "{name}");
            }
        }
        assert!(operations.is_empty(), "documented without a route: {:?}", operations.keys());
    }

    #[test]
    fn operation_ids_are_unique_and_plain_for_the_path_form() {
        let mut ids = BTreeMap::new();
        for (name, operation) in operations() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(!name.contains("{roomName}") || !id.contains("Query"), "{name}: {id}");
            assert_eq!(ids.insert(id, name.clone()), None, "{name}");
        }
    }
}
