//! The actix application of a listener: data, routes and middleware.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, Error};

use super::components::AppData;
use crate::middleware::cors::cors;
use crate::middleware::error_envelope::error_envelope;
use crate::middleware::host::host;
use crate::middleware::keep_alive::keep_alive;
use crate::middleware::load_shed::load_shed;
use crate::middleware::loopback_host::loopback_host;
use crate::middleware::request_log::request_log;
use crate::middleware::security_headers::security_headers;
use crate::routes::{self, RouteRow};

/// Turns on the middleware that not every listener has.
#[derive(Clone, Copy)]
pub(super) struct OptionalMiddleware {
    pub(super) loopback_host: bool,
    pub(super) load_shed: bool,
    pub(super) cors: bool,
}

/// Builds the application of one worker.
pub(super) fn build(
    data: &AppData,
    table: &'static [RouteRow],
    optional: OptionalMiddleware,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<>,
> {
    App::new()
        .configure(|config| data.register(config))
        .configure(|config| routes::mount(table, config))
        .wrap(Condition::new(optional.loopback_host, from_fn(loopback_host)))
        // The last one is outermost.
        .wrap(from_fn(error_envelope))
        .wrap(Condition::new(optional.load_shed, from_fn(load_shed)))
        .wrap(from_fn(host))
        .wrap(Condition::new(optional.cors, from_fn(cors)))
        .wrap(from_fn(keep_alive))
        .wrap(from_fn(security_headers))
        .wrap(from_fn(request_log))
}
