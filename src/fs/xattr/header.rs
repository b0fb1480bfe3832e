//! Extended attributes in an object's user metadata, as s3fs keeps them.
//!
//! All of them are in one entry, `xattr`: a JSON object of names and values, the values in base64, the whole
//! of it percent-encoded so that it survives as a header.
//!
//! ```text
//! {"user.colour":"cmVk","user.size":"AAE="}
//! %7B%22user.colour%22%3A%22cmVk%22%2C%22user.size%22%3A%22AAE%3D%22%7D
//! ```
//!
//! Entries of other name spaces, which s3fs can be told to keep there too, are not shown and left as they are.

use std::collections::BTreeMap;

use aws_smithy_types::base64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::s3::UserMetadata;

/// The extended attributes that an object carries, by name.
pub(super) type Carried = BTreeMap<String, Vec<u8>>;

/// The entry is there and is not what s3fs or we would have written: it must not be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads the attributes in an object's metadata; without an entry there are none.
pub(super) fn read(user: &UserMetadata) -> Result<Carried, Unreadable> {
    let Some(encoded) = user.get(ENTRY) else { return Ok(Carried::new()) };
    let json = percent_decode_str(encoded).decode_utf8().map_err(|_| Unreadable)?;
    let values: BTreeMap<String, String> = serde_json::from_str(&json).map_err(|_| Unreadable)?;
    let decoded = |(name, value): (String, String)| Some((name, base64::decode(value).ok()?));
    values.into_iter().map(decoded).collect::<Option<_>>().ok_or(Unreadable)
}

/// Writes the attributes into an object's metadata; without any there is no entry.
pub(super) fn write(carried: &Carried, user: &mut UserMetadata) {
    if carried.is_empty() {
        user.remove(ENTRY);
        return;
    }
    let values: BTreeMap<&str, String> =
        carried.iter().map(|(name, value)| (name.as_str(), base64::encode(value))).collect();
    let json = serde_json::to_string(&values).expect("texts can be written as JSON");
    user.insert(ENTRY.to_owned(), utf8_percent_encode(&json, KEPT).to_string());
}

/// The name of the metadata entry.
const ENTRY: &str = "xattr";

/// What s3fs leaves as it is beside letters and digits.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn carried(entry: &str) -> Result<Carried, Unreadable> {
        read(&UserMetadata::from([(ENTRY.to_owned(), entry.to_owned())]))
    }

    #[test]
    fn what_s3fs_wrote_is_read_and_written_alike() {
        // As s3fs 1.95 stores them after two calls of setfattr(1).
        let stored = "%7B%22user.colour%22%3A%22cmVk%22%2C%22user.size%22%3A%22AAE%3D%22%7D";
        let read = carried(stored).expect("s3fs wrote it");
        let expected: [(&str, &[u8]); 2] = [("user.colour", b"red"), ("user.size", &[0, 1])];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let mut user = UserMetadata::new();
        write(&read, &mut user);
        assert_eq!(user[ENTRY], stored);
        write(&Carried::new(), &mut user);
        assert!(user.is_empty());
    }

    #[test]
    fn nonsense_is_not_taken_for_nothing() {
        for entry in ["", "{}{", "%7B%22user.a%22%3A%22???%22%7D", "%FF", "%7B%22user.a%22%3A1%7D"] {
            assert_eq!(carried(entry), Err(Unreadable), "{entry}");
        }
        assert_eq!(carried("%7B%7D"), Ok(Carried::new()), "s3fs leaves an empty object behind");
    }

    proptest! {
        #[test]
        fn all_names_and_values_survive_as_a_header(
            carried in prop::collection::btree_map("user\\.\\PC{1,20}", prop::collection::vec(any::<u8>(), 0..40), 1..5)
        ) {
            let mut user = UserMetadata::new();
            write(&carried, &mut user);
            prop_assert!(user[ENTRY].bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(read(&user), Ok(carried));
        }
    }
}
