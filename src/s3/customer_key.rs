//! A key that the customer keeps (SSE-C): S3 encrypts with it and forgets it.
//!
//! It travels with every request that touches an object's bytes or description, and for a copy once
//! for each side. The MD5 that goes with it guards against a key that was garbled on the way, with which bytes
//! would be encrypted for good; it is no secret (S3 user guide, "Using server-side encryption with
//! customer-provided keys").

use std::fmt;

use aws_smithy_types::base64;
use md5::{Digest, Md5};

use crate::secret::{Secret, SecretBuffer};

/// A key of 256 bits, ready for the headers of a request.
#[derive(Clone)]
pub struct CustomerKey {
    encoded: Secret,
    md5: String,
}

impl CustomerKey {
    /// Takes a key in base64; `None` unless it is one of 32 bytes.
    pub fn from_base64(encoded: &Secret) -> Option<Self> {
        let key = SecretBuffer::from(base64::decode(encoded.expose()).ok()?);
        let md5 = base64::encode(Md5::digest(key.bytes()));
        (key.bytes().len() == KEY_BYTES).then(|| Self { encoded: encoded.clone(), md5 })
    }

    pub(super) fn encoded(&self) -> &str {
        self.encoded.expose()
    }

    pub(super) fn md5(&self) -> &str {
        &self.md5
    }
}

/// Shows that it is one, and not which.
impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(..)")
    }
}

/// Puts the key on a request for one object.
macro_rules! keyed {
    ($call:expr, $rules:expr) => {{
        let key = $rules.customer_key.as_ref();
        $call
            .set_sse_customer_algorithm(key.map(|_| $crate::s3::customer_key::ALGORITHM.to_owned()))
            .set_sse_customer_key(key.map(|key| key.encoded().to_owned()))
            .set_sse_customer_key_md5(key.map(|key| key.md5().to_owned()))
    }};
}
pub(super) use keyed;

/// Puts the key of a copy's source on its request.
macro_rules! source_keyed {
    ($call:expr, $rules:expr) => {{
        let key = $rules.customer_key.as_ref();
        $call
            .set_copy_source_sse_customer_algorithm(
                key.map(|_| $crate::s3::customer_key::ALGORITHM.to_owned()),
            )
            .set_copy_source_sse_customer_key(key.map(|key| key.encoded().to_owned()))
            .set_copy_source_sse_customer_key_md5(key.map(|key| key.md5().to_owned()))
    }};
}
pub(super) use source_keyed;

/// The only one there is.
pub(super) const ALGORITHM: &str = "AES256";

const KEY_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_256_bits_and_does_not_show_them() {
        let key = |text: &str| CustomerKey::from_base64(&Secret::from(text.to_owned()));
        let encoded = base64::encode([7; 32]);
        let taken = key(&encoded).expect("32 bytes");
        // md5 of 32 bytes of 7, as md5sum(1) has it.
        assert_eq!(taken.md5(), "y4HAEFCYWuvAXWFTtA1Qpg==");
        assert!(!format!("{taken:?}").contains(&encoded));
        for wrong in
            [base64::encode([7; 31]), base64::encode([7; 33]), "not base64!".to_owned(), String::new()]
        {
            assert!(key(&wrong).is_none(), "{wrong}");
        }
    }
}
