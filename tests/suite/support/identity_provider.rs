//! A fake identity provider: discovery, keys, signed tokens, and everything that can go wrong with them.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    RsaKeyPair,
};
use serde_json::{Value, json};

use super::fake_upstream::{FakeUpstream, http, read_head};
use super::tokens::{b64, message, now};
use super::{TestServer, wait_until};

/// The audience of its tokens for the server under test.
pub const AUDIENCE: &str = "proconf";

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/keys";

/// A private key of the provider.
pub struct SigningKey {
    id: Option<&'static str>,
    pair: KeyPair,
}

enum KeyPair {
    Rsa(Arc<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Two RSA keys for the whole suite, because it takes long to generate one.
static RSA: LazyLock<[Arc<RsaKeyPair>; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())));

impl SigningKey {
    pub fn rsa(id: &'static str) -> Self {
        Self { id: Some(id), pair: KeyPair::Rsa(Arc::clone(&RSA[0])) }
    }

    /// Another RSA key than [`SigningKey::rsa`], whatever their ids.
    pub fn other_rsa(id: &'static str) -> Self {
        Self { id: Some(id), pair: KeyPair::Rsa(Arc::clone(&RSA[1])) }
    }

    pub fn p256(id: &'static str) -> Self {
        Self { id: Some(id), pair: KeyPair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub fn p384(id: &'static str) -> Self {
        Self { id: Some(id), pair: KeyPair::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()) }
    }

    pub fn ed25519(id: &'static str) -> Self {
        Self { id: Some(id), pair: KeyPair::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    /// The same key without an id.
    pub fn without_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        let ec = |curve: &str, pair: &EcdsaKeyPair| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
        };
        let mut jwk = match &self.pair {
            KeyPair::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus().big_endian_without_leading_zero(), public.exponent());
                json!({"kty": "RSA", "use": "sig", "n": b64(n), "e": b64(e.big_endian_without_leading_zero())})
            }
            KeyPair::P256(pair) => ec("P-256", pair),
            KeyPair::P384(pair) => ec("P-384", pair),
            KeyPair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        };
        if let Some(id) = self.id {
            jwk["kid"] = id.into();
        }
        jwk
    }

    /// The thumbprint of the public key (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let mut jwk = self.jwk();
        for optional in ["kid", "use"] {
            jwk.as_object_mut().unwrap().remove(optional);
        }
        // The members are sorted by name, without blanks.
        b64(digest(&SHA256, jwk.to_string().as_bytes()))
    }

    /// The usual algorithm of the key.
    fn algorithm(&self) -> &'static str {
        match self.pair {
            KeyPair::Rsa(_) => "RS256",
            KeyPair::P256(_) => "ES256",
            KeyPair::P384(_) => "ES384",
            KeyPair::Ed25519(_) => "EdDSA",
        }
    }

    /// A token with these claims, as a provider signs it.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.algorithm(), claims)
    }

    /// The same with another algorithm of RSA.
    pub fn sign_as(&self, algorithm: &str, claims: &Value) -> String {
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if let Some(id) = self.id {
            header["kid"] = id.into();
        }
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// Any header and payload, signed by the algorithm of the header if it is one of RSA, else by the key's usual one.
    pub fn sign_raw(&self, header: &str, payload: &str) -> String {
        let message = message(header.as_bytes(), payload.as_bytes());
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let signature = match &self.pair {
            KeyPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_padding(header), &random, bytes, &mut signature).unwrap();
                signature
            }
            KeyPair::P256(pair) | KeyPair::P384(pair) => pair.sign(&random, bytes).unwrap().as_ref().to_vec(),
            KeyPair::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", b64(signature))
    }
}

fn rsa_padding(header: &str) -> &'static dyn RsaEncoding {
    let all: [(&str, &'static dyn RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    all.into_iter().find(|(name, _)| header.contains(name)).map_or(&RSA_PKCS1_SHA256, |(_, padding)| padding)
}

/// What the provider responds with.
#[derive(Clone)]
enum Behaviour {
    Serving,
    /// These bytes, to every request for keys.
    Responding(String),
    /// Nothing, to every request.
    Stalling,
    /// An immediate end of the connection.
    Down,
}

struct Provider {
    issuer: String,
    discovery: Value,
    keys: String,
    behaviour: Behaviour,
    /// The paths of all requests.
    requests: Vec<String>,
}

/// The provider. It serves until the process ends.
pub struct IdentityProvider {
    pub issuer: String,
    provider: Arc<Mutex<Provider>>,
}

impl IdentityProvider {
    /// Starts a provider with these keys.
    pub fn start(keys: &[&SigningKey]) -> Self {
        Self::start_at("", keys)
    }

    /// The same, whose issuer ends with `path`.
    pub fn start_at(path: &str, keys: &[&SigningKey]) -> Self {
        let provider = Arc::new(Mutex::new(Provider {
            issuer: String::new(),
            discovery: Value::Null,
            keys: String::new(),
            behaviour: Behaviour::Serving,
            requests: Vec::new(),
        }));
        let serving = Arc::clone(&provider);
        let upstream = FakeUpstream::serving(move |stream, _| serve(stream, &serving));
        let base = format!("http://127.0.0.1:{}", upstream.port);
        let issuer = format!("{base}{path}");
        {
            let mut provider = provider.lock().unwrap();
            provider.discovery = json!({"issuer": issuer, "jwks_uri": format!("{base}{KEYS}")});
            provider.issuer.clone_from(&issuer);
        }
        let this = Self { issuer, provider };
        this.set_keys(keys);
        this
    }

    /// The claims of a good token, which is valid for an hour.
    pub fn claims(&self) -> Value {
        json!({"iss": self.issuer, "aud": AUDIENCE, "sub": "ann", "name": "Ann Ω", "iat": now(), "exp": now() + 3600})
    }

    /// Starts a server that trusts this provider, with these settings on top.
    pub fn server(&self, settings: &[(&str, &str)]) -> TestServer {
        let oidc = [("APP_OIDC__ISSUER", self.issuer.as_str()), ("APP_OIDC__AUDIENCE", AUDIENCE)];
        TestServer::with(&[&oidc, settings].concat())
    }

    /// Publishes these keys.
    pub fn set_keys(&self, keys: &[&SigningKey]) {
        self.set_key_set(&json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string());
    }

    /// Publishes this document in place of keys.
    pub fn set_key_set(&self, document: &str) {
        document.clone_into(&mut self.provider.lock().unwrap().keys);
    }

    /// Changes a member of the discovery document.
    pub fn set_discovery(&self, name: &str, value: Value) {
        self.provider.lock().unwrap().discovery[name] = value;
    }

    /// Sends these bytes to every request for keys.
    pub fn respond_with(&self, bytes: impl Into<String>) {
        self.behave(Behaviour::Responding(bytes.into()));
    }

    /// Sends nothing.
    pub fn stall(&self) {
        self.behave(Behaviour::Stalling);
    }

    /// Closes every connection.
    pub fn go_down(&self) {
        self.behave(Behaviour::Down);
    }

    /// Serves again.
    pub fn recover(&self) {
        self.behave(Behaviour::Serving);
    }

    fn behave(&self, behaviour: Behaviour) {
        self.provider.lock().unwrap().behaviour = behaviour;
    }

    /// The number of requests for keys.
    pub fn fetches(&self) -> usize {
        self.requests(KEYS)
    }

    /// The number of requests for this path.
    pub fn requests(&self, path: &str) -> usize {
        self.provider.lock().unwrap().requests.iter().filter(|requested| *requested == path).count()
    }

    /// The number of all requests, with and without a response.
    pub fn all_requests(&self) -> usize {
        self.provider.lock().unwrap().requests.len()
    }

    /// Waits for a fetch of the keys after `before`.
    #[track_caller]
    pub fn wait_for_fetch(&self, before: usize) {
        wait_until("the keys are fetched", || self.fetches() > before);
    }
}

/// Serves requests of a connection until it ends.
fn serve(mut stream: TcpStream, provider: &Mutex<Provider>) {
    while let Some(head) = read_head(&mut stream) {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let response = {
            let mut provider = provider.lock().unwrap();
            provider.requests.push(path.clone());
            let is_discovery = path.ends_with(DISCOVERY);
            match &provider.behaviour {
                Behaviour::Serving | Behaviour::Responding(_) if is_discovery => {
                    Some(http("200 OK", &provider.discovery.to_string()))
                }
                Behaviour::Serving if path == KEYS => Some(http("200 OK", &provider.keys)),
                Behaviour::Serving => Some(http("404 Not Found", "{}")),
                Behaviour::Responding(bytes) => Some(bytes.clone()),
                Behaviour::Stalling => None,
                Behaviour::Down => return,
            }
        };
        if let Some(response) = response
            && stream.write_all(response.as_bytes()).is_err()
        {
            return;
        }
    }
}
