//! Key sets of an identity provider (RFC 7517), parsed key by key.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize as _;
use serde_json::Value;

use super::FetchError;
use crate::auth::token::InvalidToken;
use crate::auth::token_parts::TokenParts;
use crate::strict_json::Object;

/// The accepted sizes of RSA keys (RFC 7518 section 3.3), in bits. The library verifies by no larger one.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// The accepted sizes of their exponents (FIPS 186-5 appendix A.1.1), in bits, with the library's maximum.
const EXPONENT_BITS: RangeInclusive<usize> = 17..=33;

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
        let usable = match self.keys.len() {
            0 => "no usable key".to_owned(),
            1 => format!("1 usable key ({algorithms})"),
            number => format!("{number} usable keys ({algorithms})"),
        };
        if self.skipped.is_empty() { usable } else { format!("{usable}; skipped: {}", self.skipped.join(", ")) }
    }

    /// Returns whether the key with this thumbprint is in the set.
    pub(super) fn contains(&self, thumbprint: &str) -> bool {
        self.keys.iter().any(|key| *key.thumbprint == *thumbprint)
    }

    /// Verifies a signature by the keys of its `kid`; without one, by the only key that fits the algorithm.
    ///
    /// Returns the thumbprint of the key.
    pub(super) fn verify(&self, token: &TokenParts<'_>, algorithm: Algorithm) -> Result<&Arc<str>, InvalidToken> {
        let id = token.header.text("kid");
        let fits = |key: &&PublicKey| key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id);
        let verifies = |key: &&PublicKey| {
            crypto::verify(token.signature, token.message.as_bytes(), &key.key, algorithm).unwrap_or(false)
        };
        let mut fitting = self.keys.iter().filter(fits);
        let number = fitting.clone().count();
        if number == 0 || id.is_none() && number > 1 {
            return Err(InvalidToken::UnknownKey);
        }
        fitting.find(verifies).map(|key| &key.thumbprint).ok_or(InvalidToken::Signature)
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
        let (fitting, curve) = fitting_algorithms(&jwk.algorithm)?;
        let algorithms = fitting.iter().copied().filter(|algorithm| {
            let is_named = common.key_algorithm.is_none_or(|name| name == KeyAlgorithm::from(*algorithm));
            is_named && accepted.contains(algorithm)
        });
        let algorithms: Vec<Algorithm> = algorithms.collect();
        if algorithms.is_empty() {
            return Err("no algorithm of APP_OIDC__ALGORITHMS");
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "not valid")?;
        if let (Some(curve), Ok(point)) = (curve, key.try_get_as_bytes()) {
            ParsedPublicKey::new(curve, point).map_err(|_| "not valid")?;
        }
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| "not valid")?.into();
        Ok(Self { id: jwk.common.key_id, thumbprint, algorithms, key })
    }
}

/// The algorithms that a key fits, and what parses its point if it has a curve.
type Fitting = (&'static [Algorithm], Option<&'static dyn VerificationAlgorithm>);

/// Returns the algorithms that fit the type, size or curve of a key. Symmetric keys never fit.
fn fitting_algorithms(key: &AlgorithmParameters) -> Result<Fitting, &'static str> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match key {
        AlgorithmParameters::RSA(rsa) => match (odd_bits(&rsa.n), odd_bits(&rsa.e)) {
            (n, _) if n < *RSA_BITS.start() => Err("RSA below 2048 bits"),
            (n, e) if RSA_BITS.contains(&n) && EXPONENT_BITS.contains(&e) => {
                Ok((&[RS256, RS384, RS512, PS256, PS384, PS512], None))
            }
            _ => Err("not valid"),
        },
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            Ok((&[ES256], Some(&ECDSA_P256_SHA256_FIXED)))
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => {
            Ok((&[ES384], Some(&ECDSA_P384_SHA384_FIXED)))
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Ok((&[EdDSA], Some(&ED25519))),
        AlgorithmParameters::OctetKey(_) => Err("a symmetric key"),
        _ => Err("unknown type or curve"),
    }
}

/// Returns the length of an odd base64url number in bits; 0 if it is even or malformed.
fn odd_bits(number: &str) -> usize {
    let bytes = URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    let is_odd = bytes.last().is_some_and(|last| last % 2 == 1);
    let mut significant = bytes.iter().skip_while(|byte| **byte == 0).filter(|_| is_odd);
    significant.next().map_or(0, |first| significant.count() * 8 + 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: &[Algorithm] = &[Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

    /// The base points of the curves (SEC 2).
    const P256: [&str; 2] = ["axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"];
    const P384: [&str; 2] = [
        "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
        "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
    ];

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
    fn malformed_key_material_is_skipped() {
        let rsa = |n: &str, e: &str| json!({"kty": "RSA", "n": n, "e": e});
        let ec = |crv: &str, x: &str, y: &str| json!({"kty": "EC", "crv": crv, "x": x, "y": y});
        let ed25519 = |x: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let even = URL_SAFE_NO_PAD.encode([&[0xff; 255][..], &[0xfe]].concat());
        for (jwk, expected) in [
            (rsa(&number(8193), "AQAB"), "not valid"),
            (rsa(&number(1 << 20), "AQAB"), "not valid"),
            (rsa(&even, "AQAB"), "RSA below 2048 bits"),
            // 1, 3, 65536, 2^33 + 1 and none.
            (rsa(&number(2048), "AQ"), "not valid"),
            (rsa(&number(2048), "Aw"), "not valid"),
            (rsa(&number(2048), "AQAA"), "not valid"),
            (rsa(&number(2048), "AgAAAAE"), "not valid"),
            (rsa(&number(2048), ""), "not valid"),
            (ec("P-256", "AA", "AA"), "not valid"),
            (ec("P-256", P256[0], ""), "not valid"),
            (ec("P-256", P256[1], P256[0]), "not valid"),
            (ec("P-256", P384[0], P384[1]), "not valid"),
            (ec("P-384", P256[0], P256[1]), "not valid"),
            (ed25519("AA"), "not valid"),
            (ed25519(P384[0]), "not valid"),
        ] {
            assert_eq!(outcome(&jwk), Err(expected), "{jwk}");
        }
    }

    #[test]
    fn key_fits_the_algorithms_of_its_type_use_and_name() {
        let rsa = |name: &str, value: Value| {
            let mut jwk = json!({"kty": "RSA", "n": number(2048), "e": "AQAB"});
            jwk[name] = value;
            jwk
        };
        let curve = |kty: &str, crv: &str| {
            let [x, y] = if crv == "P-256" { P256 } else { P384 };
            json!({"kty": kty, "crv": crv, "x": if crv == "Ed25519" { P256[0] } else { x }, "y": y})
        };
        let with_alg = |mut jwk: Value, alg: &str| {
            jwk["alg"] = alg.into();
            jwk
        };
        for (jwk, expected) in [
            (rsa("alg", json!("PS256")), Ok(vec![Algorithm::PS256])),
            (rsa("use", json!("sig")), Ok(vec![Algorithm::RS256, Algorithm::PS256])),
            (rsa("key_ops", json!(["verify"])), Ok(vec![Algorithm::RS256, Algorithm::PS256])),
            (with_alg(curve("EC", "P-256"), "ES384"), Err("no algorithm of APP_OIDC__ALGORITHMS")),
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
