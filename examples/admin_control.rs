//! Requests a catch-up from Admin Control with this crate's client alone.
//!
//! ```text
//! cargo run -- sandbox &
//! cargo run --example admin_control -- http://127.0.0.1:8081/api testRoom
//! ```

use std::io::Write as _;
use std::time::Duration;

use proconf_app_server::admin_control::{AdminControl, Config, Endpoint, EndpointLimits, Error, RootCertificates};
use proconf_app_server::room::NameComparison;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(base_url), Some(room)) = (arguments.next(), arguments.next()) else {
        return Err("usage: admin_control BASE_URL ROOM".into());
    };
    let config = Config {
        base_url,
        timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(1),
        max_body_bytes: 4 * 1024 * 1024,
        max_in_flight: 512,
        authorization: None,
        root_certificates: Some(RootCertificates::system()),
    };
    let room = NameComparison::Exact.parse(&room)?;
    actix_rt::System::new().block_on(async {
        // One client for each worker thread; the limits are shared by all of them.
        let admin_control = AdminControl::new(config.clone(), EndpointLimits::new(&config));
        let text = match admin_control.get(Endpoint::CallCatchUp, Some(&room), ToString::to_string).await {
            Ok(catch_up) => catch_up,
            Err(Error::NotFound) => format!("room {room} not found"),
            Err(error) => return Err(error.into()),
        };
        writeln!(std::io::stdout(), "{text}")?;
        Ok(())
    })
}
