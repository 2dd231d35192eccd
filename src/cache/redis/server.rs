//! The address of Redis: a URL, or that of the primary that sentinels know.

use ::redis::{
    Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, RedisError, RedisResult, TlsCertificates,
    cmd, parse_redis_url,
};

use crate::secret::Secret;

/// A malformed URL of Redis or of a sentinel.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum InvalidUrl {
    /// The URL of Redis.
    #[error(
        "must be a URL like redis://[[user]:password@]host[:port][/database], or rediss:// for TLS, with @ : / ? # and % in \
         the password percent-encoded"
    )]
    Redis,
    /// The URL of a sentinel.
    #[error("must be URLs like redis://[[user]:password@]host:port, separated by commas")]
    Sentinel,
}

/// The addresses and credentials of Redis.
#[derive(Debug, Clone)]
pub(crate) struct RedisAddress {
    /// The URL; with sentinels, its host is the name that they know the primary by.
    pub url: Secret,
    /// The URLs of the sentinels; none without Sentinel.
    pub sentinels: Vec<Secret>,
    /// The trusted root certificates in PEM; empty for Mozilla's list.
    pub authorities: String,
}

/// Redis, or the sentinels that know its primary.
pub(super) struct Server {
    redis: Client,
    /// `[None]` without Sentinel.
    sentinels: Vec<Option<Client>>,
}

impl RedisAddress {
    /// Validates the form of the URLs.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if one is not a Redis URL.
    pub(crate) fn check(&self) -> Result<(), InvalidUrl> {
        Server::new(self).map(drop)
    }
}

impl Server {
    pub(super) fn new(address: &RedisAddress) -> Result<Self, InvalidUrl> {
        let redis = client(&address.url, &address.authorities).ok_or(InvalidUrl::Redis)?;
        let sentinels = address.sentinels.iter().map(|url| {
            let has_port = parse_redis_url(url.expose()).is_some_and(|url| url.port().is_some());
            client(url, &address.authorities).filter(|_| has_port).map(Some).ok_or(InvalidUrl::Sentinel)
        });
        let mut sentinels = sentinels.collect::<Result<Vec<_>, _>>()?;
        if sentinels.is_empty() {
            sentinels.push(None);
        }
        Ok(Self { redis, sentinels })
    }

    /// Returns the sentinels to query for the primary; one `None` without Sentinel.
    pub(super) fn sentinels(&self) -> impl Iterator<Item = Option<&Client>> {
        self.sentinels.iter().map(Option::as_ref)
    }

    /// Returns a client of the primary that `sentinel` knows, or of the only Redis.
    pub(super) async fn find_primary(&self, sentinel: Option<&Client>) -> RedisResult<Client> {
        let info = self.redis.get_connection_info().clone();
        let mut address = info.addr().clone();
        if let Some(sentinel) = sentinel
            && let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = &mut address
        {
            let failed = |cause| RedisError::from((ErrorKind::Client, "asking a sentinel failed", cause));
            let primary = get_primary(sentinel, host).await.map_err(|error| failed(describe(&error)))?;
            (*host, *port) = primary.ok_or_else(|| failed("it knows no primary of this name".to_owned()))?;
        }
        Client::open(info.set_addr(address))
    }
}

async fn get_primary(sentinel: &Client, name: &str) -> RedisResult<Option<(String, u16)>> {
    let mut connection = sentinel.get_multiplexed_async_connection().await?;
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).query_async(&mut connection).await
}

/// Creates a client, which connects later. A password that is not encoded would be read as host, path or query.
fn client(url: &Secret, authorities: &str) -> Option<Client> {
    let parsed = parse_redis_url(url.expose()).filter(|url| {
        let has_plain_path = url.path().trim_start_matches('/').bytes().all(|byte| byte.is_ascii_digit());
        let has_plain_end = has_plain_path && url.query().is_none() && url.fragment().is_none();
        // Redis ignores a user without a password, which may be a password in the wrong place.
        has_plain_end && (url.password().is_some() || url.username().is_empty())
    })?;
    let is_tls = parsed.scheme() == "rediss";
    let info = parsed.into_connection_info().ok()?;
    // With RESP3, a connection that Redis closes is noticed and reopened before the next command.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // Without it, a command waits until the previous one is acknowledged.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    if is_tls {
        let root_cert = (!authorities.is_empty()).then(|| authorities.as_bytes().to_vec());
        return Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert }).ok();
    }
    Client::open(info).ok()
}

/// Describes an error for the operator. Replies of Redis contain no password.
pub(super) fn describe(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    if error.is_cluster_error() { format!("a node of a cluster, which is not supported: {text}") } else { text }
}
