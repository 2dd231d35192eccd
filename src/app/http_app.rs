//! The actix application of a listener: data, routes and middleware.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error};

use super::components::AppData;
use crate::middleware::error_envelope::error_envelope;
use crate::middleware::load_shed::load_shed;
use crate::middleware::request_log::request_log;
use crate::middleware::response_head::response_head;
use crate::routes::{self, RouteRow};

/// Builds the application of one worker. CORS, `load_shed` and the check of local hosts do nothing without their data.
pub(super) fn build(
    data: &AppData,
    table: &'static [RouteRow],
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<>,
> {
    App::new()
        .configure(|config| data.register(config))
        .configure(|config| routes::mount(table, config))
        // The last one is outermost.
        .wrap(from_fn(error_envelope))
        .wrap(from_fn(load_shed))
        .wrap(from_fn(response_head))
        .wrap(from_fn(request_log))
}
