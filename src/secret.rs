//! Values that nobody but their addressee may see.
//!
//! A [`Secret`] cannot be printed by accident: `Debug` shows only that it is one, there is no
//! `Display`, and the one way to its text has a name that a reader, or grep, will notice. What held
//! it is overwritten when it is dropped. A [`SecretBuffer`] does the same for bytes on their way in
//! or out: a line of the control socket, a credentials file, the output of a command.
//!
//! What the kernel, a library or the allocator copied before is out of reach, so this is a
//! second line of defence. The first is [`forbid_core_dumps`](crate::sys::forbid_core_dumps).

use std::fmt;
use std::io::{self, Read, Write};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A text that must not be shown: a key, a token, a code.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself, for whoever it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Writes the text itself: only messages to its addressee may carry one.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The reason of a refusal quotes what was found, so it is not passed on.
        String::deserialize(deserializer)
            .map(Self::from)
            .map_err(|_| D::Error::custom("a secret must be a text"))
    }
}

/// Bytes that may hold secrets: overwritten when dropped, and where they lay before when they grow.
#[derive(Default)]
pub struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    /// Returns an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads to the end, or until there are more than `bytes_max`, which is an error.
    ///
    /// # Errors
    /// Those of `source`; [`io::ErrorKind::FileTooLarge`] when there is too much.
    pub fn read(mut source: impl Read, bytes_max: usize) -> io::Result<Self> {
        let (mut buffer, mut block) = (Self::new(), Zeroizing::new([0; BLOCK_BYTES]));
        loop {
            match source.read(&mut *block) {
                Ok(0) => return Ok(buffer),
                Ok(count) if buffer.0.len() + count > bytes_max => {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                Ok(count) => buffer.push(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The vector itself, with room for another block: whoever adds no more than that leaves no copy behind.
    pub fn with_room(&mut self) -> &mut Vec<u8> {
        self.reserve(BLOCK_BYTES);
        &mut self.0
    }

    /// What has been written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A vector that grows by itself frees its old place as it is.
    fn reserve(&mut self, bytes: usize) {
        let needed = self.0.len() + bytes;
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).max(BLOCK_BYTES)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
    }
}

impl From<Vec<u8>> for SecretBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBuffer(..)")
    }
}

impl Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Holds a session and all that stands around it, so buffers rarely grow.
const BLOCK_BYTES: usize = 4096;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_its_debug_form() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(..) Some(Secret(..))");
        let mut buffer = SecretBuffer::new();
        buffer.push(b"hunter2");
        assert_eq!(format!("{buffer:?}"), "SecretBuffer(..)");
    }

    #[test]
    fn a_secret_travels_as_a_string() {
        for text in ["hunter2", "", "a\"b\\c\né"] {
            let line = serde_json::to_string(&Secret::from(text.to_owned())).unwrap();
            assert_eq!(serde_json::from_str::<Secret>(&line).unwrap().expose(), text);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_quoted() {
        for line in ["123456", "-12345.6", "[\"hunter2\"]", "\"hunter2"] {
            let error = serde_json::from_str::<Secret>(line).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("12345"), "{error}");
        }
    }

    #[test]
    fn a_buffer_holds_all_that_was_written_however_much() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut buffer = SecretBuffer::new();
        text.chunks(777).for_each(|chunk| buffer.push(chunk));
        assert_eq!(buffer.bytes(), text);
        assert_eq!(SecretBuffer::read(text.as_slice(), text.len()).unwrap().bytes(), text);
        let error = SecretBuffer::read(text.as_slice(), text.len() - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
