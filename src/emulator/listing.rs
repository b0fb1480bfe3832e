//! One page of a bucket, as both versions of `ListObjects` cut it.
//!
//! Keys come in the order of their UTF-8 bytes. With a delimiter, keys that share everything
//! up to its first occurrence behind the prefix roll up into one common prefix, which counts
//! as one entry and stands where its first key stands.
//!
//! A page goes on behind a *marker*, which is the last entry of the page before: a key, or a
//! common prefix, in which case all keys that roll up into it are passed over.

use std::sync::Arc;

use super::store::{Bucket, Object};

/// What to list.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Where names end, usually `/`.
    pub delimiter: Option<&'a str>,
    /// The entry to go on behind.
    pub marker: Option<&'a str>,
    /// How many entries make a page.
    pub entries_max: usize,
}

/// Entries of a listing, in order within each of the two lists.
#[derive(Debug, Default)]
pub struct Page {
    /// Keys and objects.
    pub objects: Vec<(String, Arc<Object>)>,
    /// Rolled up keys.
    pub common_prefixes: Vec<String>,
    /// The marker of the next page, if there is one.
    pub next_marker: Option<String>,
}

enum Entry {
    Object(String, Arc<Object>),
    CommonPrefix(String),
}

/// Cuts one page.
pub fn page(bucket: &Bucket, selection: Selection<'_>) -> Page {
    let mut page = Page::default();
    let mut marker = selection.marker.map(str::to_owned);
    for _ in 0..selection.entries_max {
        let Some(entry) = next_entry(bucket, selection, marker.as_deref()) else { return page };
        marker = Some(entry.name().to_owned());
        match entry {
            Entry::Object(key, object) => page.objects.push((key, object)),
            Entry::CommonPrefix(prefix) => page.common_prefixes.push(prefix),
        }
    }
    let more = selection.entries_max > 0 && next_entry(bucket, selection, marker.as_deref()).is_some();
    page.next_marker = marker.filter(|_| more);
    page
}

fn next_entry(bucket: &Bucket, selection: Selection<'_>, marker: Option<&str>) -> Option<Entry> {
    let rolled_up = marker.filter(|marker| roll_up(marker, selection) == Some(marker));
    let behind = match rolled_up {
        Some(prefix) => Some(behind_all_with(prefix)),
        None => marker.map(str::to_owned),
    };
    let (key, object) = bucket.objects_after(behind.as_deref(), selection.prefix, 1).pop()?;
    Some(match roll_up(&key, selection) {
        Some(prefix) => Entry::CommonPrefix(prefix.to_owned()),
        None => Entry::Object(key, object),
    })
}

/// The common prefix that a key rolls up into.
fn roll_up<'a>(key: &'a str, selection: Selection<'_>) -> Option<&'a str> {
    let delimiter = selection.delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(selection.prefix)?;
    let end = selection.prefix.len() + rest.find(delimiter)? + delimiter.len();
    Some(&key[..end])
}

/// A string behind every key that starts with `prefix` and before every other that follows.
fn behind_all_with(prefix: &str) -> String {
    // The greatest character takes four bytes, so this is longer than the 1,024 bytes of any key.
    prefix.chars().chain(std::iter::repeat_n(char::MAX, 257)).collect()
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object(key, _) => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// Encodes a name as `encoding-type=url` does: a space becomes `+`, a slash stays.
pub fn url_encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Decodes `%` escapes; `None` if what they spell is not UTF-8 or one of them is broken.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = behind;
            }
            (b'%', _) => return None,
            (byte, behind) => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
