//! Key sets of an identity provider (RFC 7517), parsed key by key.

use super::{Algorithm, Arc, BTreeSet, Bytes, FetchError, Object, TokenParts};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{DecodingKey, crypto};
use serde::Deserialize as _;
use serde_json::Value;

/// The smallest accepted RSA key (RFC 7518 section 3.3), in bits.
const MIN_RSA_BITS: usize = 2048;

/// The usable keys of a document.
#[derive(Default)]
pub(super) struct KeySet {
    /// Different for each other set.
    pub(super) generation: u64,
    pub(super) document: Bytes,
    keys: Vec<PublicKey>,
    /// Why each other key is skipped.
    skipped: Vec<String>,
}

struct PublicKey {
    id: Option<String>,
    /// Of its material alone (RFC 7638).
    thumbprint: Arc<str>,
    /// The accepted algorithms that it fits.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Parses a document. Keys that can't be used are skipped.
    pub(super) fn parse(document: Bytes, accepted: &[Algorithm]) -> Result<Self, FetchError> {
        let invalid = || FetchError::Invalid("the key set is not valid".to_owned());
        let set: Object = serde_json::from_slice(&document).map_err(|_| invalid())?;
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for value in set.get("keys").and_then(Value::as_array).ok_or_else(invalid)? {
            match PublicKey::parse(value, accepted) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped
                    .push(format!("{} ({reason})", value.get("kid").and_then(Value::as_str).unwrap_or("a key without kid"))),
            }
        }
        Ok(Self { generation: 0, document, keys, skipped })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the number of usable keys, their algorithms, and the skipped keys.
    pub(super) fn summary(&self) -> String {
        let algorithms = self.keys.iter().flat_map(|key| &key.algorithms).map(|algorithm| format!("{algorithm:?}"));
        let algorithms = algorithms.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
        let usable = format!("{} usable keys ({algorithms})", self.keys.len());
        if self.skipped.is_empty() { usable } else { format!("{usable}; skipped: {}", self.skipped.join(", ")) }
    }

    /// Returns whether the key with this thumbprint is in the set.
    pub(super) fn contains(&self, thumbprint: &str) -> bool {
        self.keys.iter().any(|key| *key.thumbprint == *thumbprint)
    }

    /// Verifies a signature by the keys of its `kid`; without one, by the only key that fits the algorithm.
    ///
    /// Returns the thumbprint of the key.
    pub(super) fn verify(&self, token: &TokenParts<'_>, algorithm: Algorithm) -> Option<&Arc<str>> {
        let id = token.header.text("kid");
        let fits = |key: &&PublicKey| key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id);
        let verifies = |key: &&PublicKey| {
            crypto::verify(token.signature, token.message.as_bytes(), &key.key, algorithm).unwrap_or(false)
        };
        let mut fitting = self.keys.iter().filter(fits);
        if id.is_none() && fitting.clone().nth(1).is_some() {
            return None;
        }
        fitting.find(verifies).map(|key| &key.thumbprint)
    }
}

impl PublicKey {
    fn parse(value: &Value, accepted: &[Algorithm]) -> Result<Self, &'static str> {
        let jwk = Jwk::deserialize(value).map_err(|_| "not valid")?;
        let common = &jwk.common;
        let is_for_signatures = common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return Err("not for signatures");
        }
        let algorithms = fitting_algorithms(&jwk.algorithm)?.iter().copied().filter(|algorithm| {
            let is_named = common.key_algorithm.is_none_or(|name| name == KeyAlgorithm::from(*algorithm));
            is_named && accepted.contains(algorithm)
        });
        let algorithms: Vec<Algorithm> = algorithms.collect();
        if algorithms.is_empty() {
            return Err("no algorithm of APP_OIDC__ALGORITHMS");
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "not valid")?;
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| "not valid")?.into();
        Ok(Self { id: jwk.common.key_id, thumbprint, algorithms, key })
    }
}

/// Returns the algorithms that fit the type, size or curve of a key. Symmetric keys never fit.
fn fitting_algorithms(key: &AlgorithmParameters) -> Result<&'static [Algorithm], &'static str> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match key {
        AlgorithmParameters::RSA(rsa) if bits(&rsa.n) >= MIN_RSA_BITS => Ok(&[RS256, RS384, RS512, PS256, PS384, PS512]),
        AlgorithmParameters::RSA(_) => Err("RSA below 2048 bits"),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Ok(&[ES256]),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => Ok(&[ES384]),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Ok(&[EdDSA]),
        AlgorithmParameters::OctetKey(_) => Err("a symmetric key"),
        _ => Err("unknown type or curve"),
    }
}

/// Returns the length of a base64url number in bits; 0 if it is malformed.
fn bits(number: &str) -> usize {
    let bytes = URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    let mut significant = bytes.iter().skip_while(|byte| **byte == 0);
    significant.next().map_or(0, |first| significant.count() * 8 + 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: &[Algorithm] = &[Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

    fn outcome(jwk: &Value) -> Result<Vec<Algorithm>, &'static str> {
        PublicKey::parse(jwk, ALL).map(|key| key.algorithms)
    }

    fn number(bits: usize) -> String {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] >>= bytes.len() * 8 - bits;
        URL_SAFE_NO_PAD.encode([&[0, 0][..], &bytes].concat())
    }

    #[test]
    fn rsa_key_needs_2048_bits_whatever_zeros_lead() {
        let rsa = |bits| json!({"kty": "RSA", "n": number(bits), "e": "AQAB"});
        assert_eq!(outcome(&rsa(2048)), Ok(vec![Algorithm::RS256, Algorithm::PS256]));
        assert_eq!(outcome(&rsa(4096)), Ok(vec![Algorithm::RS256, Algorithm::PS256]));
        for bits in [2047, 1024, 8] {
            assert_eq!(outcome(&rsa(bits)), Err("RSA below 2048 bits"), "{bits}");
        }
        assert_eq!(outcome(&json!({"kty": "RSA", "n": "", "e": "AQAB"})), Err("RSA below 2048 bits"));
    }

    #[test]
    fn key_fits_the_algorithms_of_its_type_use_and_name() {
        let rsa = |name: &str, value: Value| {
            let mut jwk = json!({"kty": "RSA", "n": number(2048), "e": "AQAB"});
            jwk[name] = value;
            jwk
        };
        let curve = |kty: &str, crv: &str| json!({"kty": kty, "crv": crv, "x": "AA", "y": "AA"});
        for (jwk, expected) in [
            (rsa("alg", json!("PS256")), Ok(vec![Algorithm::PS256])),
            (rsa("use", json!("sig")), Ok(vec![Algorithm::RS256, Algorithm::PS256])),
            (rsa("key_ops", json!(["verify"])), Ok(vec![Algorithm::RS256, Algorithm::PS256])),
            (rsa("alg", json!("ES256")), Err("no algorithm of APP_OIDC__ALGORITHMS")),
            (rsa("alg", json!("RS512")), Err("no algorithm of APP_OIDC__ALGORITHMS")),
            (rsa("alg", json!("HS256")), Err("no algorithm of APP_OIDC__ALGORITHMS")),
            (rsa("use", json!("enc")), Err("not for signatures")),
            (rsa("key_ops", json!(["sign"])), Err("not for signatures")),
            (rsa("kid", json!(7)), Err("not valid")),
            (curve("EC", "P-256"), Ok(vec![Algorithm::ES256])),
            (curve("EC", "P-384"), Ok(vec![Algorithm::ES384])),
            (curve("OKP", "Ed25519"), Ok(vec![Algorithm::EdDSA])),
            (curve("EC", "P-521"), Err("unknown type or curve")),
            (curve("EC", "Ed25519"), Err("unknown type or curve")),
            (curve("OKP", "P-256"), Err("unknown type or curve")),
            (curve("EC", "secp256k1"), Err("unknown type or curve")),
            (json!({"kty": "oct", "k": "AAAA", "alg": "RS256"}), Err("a symmetric key")),
            (json!({"kty": "AKP"}), Err("unknown type or curve")),
            (json!([]), Err("not valid")),
        ] {
            assert_eq!(outcome(&jwk), expected, "{jwk}");
        }
    }
}
