//! The file that holds an encryption key of the customer's own (SSE-C).

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aws_smithy_types::base64;

use super::failure::Failure;
use crate::secret::{Secret, SecretBuffer};

/// Reads a key from a file: 32 bytes as they are, or in base64. Returns it in base64.
///
/// # Errors
/// When it cannot be read, is no such key, or could be read by everybody on this machine.
pub(super) fn read(path: &Path) -> Result<Secret, Failure> {
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| Failure::new(format!("the key file {shown} cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.mode() & READABLE_BY_OTHERS != 0 {
        return Err(Failure::new(format!("everybody on this machine may read the key file {shown}"))
            .hint(format!("take that away: chmod o= {shown}")));
    }
    let bytes = SecretBuffer::read(file, FILE_BYTES_MAX).map_err(unreadable)?;
    encoded(bytes.bytes()).ok_or_else(|| {
        Failure::new(format!("{shown} does not hold an encryption key"))
            .hint("a key has 32 bytes, as they are or in base64: head -c 32 /dev/urandom > FILE")
    })
}

fn encoded(bytes: &[u8]) -> Option<Secret> {
    if bytes.len() == KEY_BYTES {
        return Some(base64::encode(bytes).into());
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let key = SecretBuffer::from(base64::decode(text).ok()?);
    (key.bytes().len() == KEY_BYTES).then(|| text.to_owned().into())
}

/// `S_IROTH` (inode(7)).
const READABLE_BY_OTHERS: u32 = 0o4;
const KEY_BYTES: usize = 32;
const FILE_BYTES_MAX: usize = 256;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_from(bytes: &[u8], mode: u32) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let key = read(file.path());
        key.map(|key| key.expose().to_owned()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_key_is_read_as_it_is_or_in_base64() {
        let key = [0xa7; 32];
        let text = base64::encode(key);
        assert_eq!(read_from(&key, 0o600), Ok(text.clone()));
        assert_eq!(read_from(format!("{text}\n").as_bytes(), 0o640), Ok(text));
    }

    #[test]
    fn what_everybody_may_read_is_no_secret() {
        let refusal = read_from(&[1; 32], 0o604).unwrap_err();
        assert!(refusal.contains("everybody"), "{refusal}");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        for wrong in [&b"hunter2"[..], &[7; 31], &[7; 300], base64::encode([7; 33]).as_bytes()] {
            let refusal = read_from(wrong, 0o600).unwrap_err();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
