//! Identity providers that accounts trust, and the tokens they issue.
//!
//! A token has the shape of a real one (a JWT: header, claims and signature in base 64), but all
//! providers of a world sign with one key that the world knows (HS256), where real ones publish the
//! other half of theirs. Claims beyond issuer, subject, audience and times are not modelled, so no
//! session tags and no source identity come from a token.

use std::time::{Duration, SystemTime};

use aws_smithy_types::base64;
use s3s::crypto::Sha256;
use serde_json::{Value, json};

use super::clock::unix_seconds;
use super::hmac::hmac;
use super::identity::AccountId;

/// An OpenID Connect provider that an account trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    pub(super) account: AccountId,
    pub(super) host: String,
    pub(super) audiences: Vec<String>,
}

/// Whom a token speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// Who issued it, as a URL; the provider's host is this without `https://`.
    pub issuer: String,
    /// Who it was issued to.
    pub subject: String,
    /// Whom it was issued for, such as `sts.amazonaws.com`.
    pub audience: String,
    /// From when on it is worth nothing.
    pub expires: SystemTime,
}

/// Why a token says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    /// It does not have the shape of one.
    Shapeless,
    /// Its issuer did not sign it.
    Unsigned,
}

impl OidcProvider {
    /// Returns a provider of this host (and path), such as `oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE`.
    pub fn new(account: AccountId, host: impl Into<String>) -> Self {
        Self { account, host: host.into(), audiences: Vec::new() }
    }

    /// Takes tokens for this audience.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Returns the ARN that trust policies name.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:oidc-provider/{}", self.account, self.host)
    }
}

impl WebIdentity {
    /// Returns the issuer as providers are named.
    pub fn host(&self) -> &str {
        self.issuer.strip_prefix("https://").unwrap_or(&self.issuer)
    }

    /// Returns the token that a world's provider issues.
    pub(super) fn issue(&self, now: SystemTime) -> String {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": "emulator"});
        let claims = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "iat": unix_seconds(now),
            "exp": unix_seconds(self.expires),
        });
        let signed = format!("{}.{}", to_base64(header.to_string()), to_base64(claims.to_string()));
        let signature = to_base64(hmac::<Sha256>(KEY, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Reads a token; whether it is expired and whom it is for is for the reader to judge.
    pub(super) fn read(token: &str) -> Result<Self, BadToken> {
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Shapeless)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Shapeless)?;
        let _header = from_base64(header).ok_or(BadToken::Shapeless)?;
        let claims = from_base64(claims).and_then(|claims| serde_json::from_slice(&claims).ok());
        let identity = claims.as_ref().and_then(Self::of_claims).ok_or(BadToken::Shapeless)?;
        if from_base64(signature) != Some(hmac::<Sha256>(KEY, signed.as_bytes())) {
            return Err(BadToken::Unsigned);
        }
        Ok(identity)
    }

    fn of_claims(claims: &Value) -> Option<Self> {
        let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
        let expires =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.get("exp")?.as_u64()?))?;
        Some(Self { issuer: text("iss")?, subject: text("sub")?, audience: text("aud")?, expires })
    }
}

/// Base 64 as in URLs, without padding (RFC 7515).
fn to_base64(bytes: impl AsRef<[u8]>) -> String {
    base64::encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let padding = "=".repeat(text.len().wrapping_neg() % 4);
    base64::decode(text.replace('-', "+").replace('_', "/") + &padding).ok()
}

/// It guards nothing: whoever can reach the emulator can also read its source.
const KEY: &[u8] = b"all providers of an emulated world sign with this";

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> WebIdentity {
        WebIdentity {
            issuer: "https://oidc.example.com/id/1".to_owned(),
            subject: "system:serviceaccount:jobs:nightly".to_owned(),
            audience: "sts.amazonaws.com".to_owned(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    #[test]
    fn a_token_says_what_it_was_issued_for() {
        let token = identity().issue(SystemTime::UNIX_EPOCH);
        assert_eq!(token.matches('.').count(), 2);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
        assert_eq!(WebIdentity::read(&token), Ok(identity()));
        assert_eq!(identity().host(), "oidc.example.com/id/1");
    }

    #[test]
    fn a_token_that_was_touched_says_nothing() {
        let token = identity().issue(SystemTime::UNIX_EPOCH);
        let other =
            WebIdentity { subject: "someone:else".to_owned(), ..identity() }.issue(SystemTime::UNIX_EPOCH);
        let (signed, _) = token.rsplit_once('.').expect("a token has three parts");
        let (_, signature) = other.rsplit_once('.').expect("a token has three parts");
        assert_eq!(WebIdentity::read(&format!("{signed}.{signature}")), Err(BadToken::Unsigned));
        for shapeless in ["", "token", "a.b", "a.b.c", "!.!.!"] {
            assert_eq!(WebIdentity::read(shapeless), Err(BadToken::Shapeless), "{shapeless}");
        }
    }
}
