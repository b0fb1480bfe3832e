//! HMAC (RFC 2104) over the digests that s3s brings along.

use s3s::crypto::Checksum;

/// Returns the code that authenticates `message` for whoever knows `key`.
pub(super) fn hmac<H: Checksum>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK_BYTES];
    match key.len() {
        length if length <= BLOCK_BYTES => block[..length].copy_from_slice(key),
        _ => {
            let digest = H::checksum(key);
            block[..digest.as_ref().len()].copy_from_slice(digest.as_ref());
        }
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let mut inner = H::new();
    inner.update(&padded(0x36));
    inner.update(message);
    let mut outer = H::new();
    outer.update(&padded(0x5c));
    outer.update(inner.finalize().as_ref());
    outer.finalize().as_ref().to_vec()
}

/// The block of SHA-1 and of SHA-256.
const BLOCK_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use s3s::crypto::{Sha1, Sha256};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
    }

    #[test]
    fn the_examples_of_rfc_2202_and_rfc_4231_hold() {
        let question = b"what do ya want for nothing?";
        assert_eq!(hex(&hmac::<Sha1>(b"Jefe", question)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            hex(&hmac::<Sha256>(b"Jefe", question)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long_key = [0xaa; 80];
        assert_eq!(
            hex(&hmac::<Sha1>(&long_key, b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }
}
