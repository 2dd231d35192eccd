//! The configuration of `dev` that no setting can change.

use std::net::IpAddr;

/// What `dev` sets beside settings.
#[derive(Debug, Clone)]
pub struct DevConfig {
    /// The IP address beside loopback that both listeners accept as `Host`, and CORS as an origin.
    pub host: IpAddr,
    /// The rooms of the sandbox, for the console.
    pub sample_rooms: Vec<String>,
}
