//! `ListObjects` and `ListObjectsV2`.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::BUCKET;
use super::answer::{escape, xml_date};
use super::query::Query;
use super::store::{Object, Step, Store};

/// Returns one page of the bucket as the document that S3 answers with.
pub(crate) fn page(store: &Store, query: &Query) -> String {
    let mut page = Page { query, entries: 0, contents: String::new(), folders: String::new(), next: None };
    store.walk(query.text("prefix"), begin(query), |key, object| page.visit(key, object));
    page.document()
}

/// A page while it fills.
#[derive(Debug)]
struct Page<'a> {
    query: &'a Query,
    entries: u64,
    contents: String,
    folders: String,
    /// What the page had no room for. Version 1 goes on *after* a key, version 2 wherever its token says.
    next: Option<Next>,
}

#[derive(Debug)]
struct Next {
    after: String,
    from: String,
}

impl Page<'_> {
    fn visit(&mut self, key: &str, object: &Object) -> Step {
        let folder = folder_of(self.query, key);
        if self.entries == entries_max(self.query) {
            self.next = self.next.take().map(|next| Next { from: key.to_owned(), ..next });
            return Step::Stop;
        }
        self.entries += 1;
        let last = folder.clone().unwrap_or_else(|| key.to_owned());
        self.next = Some(Next { after: last, from: String::new() });
        match folder {
            Some(folder) => self.add_folder(&folder),
            None => self.add_object(key, object),
        }
    }

    fn add_folder(&mut self, folder: &str) -> Step {
        let prefix = self.encode(folder);
        let _ = write!(self.folders, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
        Step::Leap(behind(folder))
    }

    fn add_object(&mut self, key: &str, object: &Object) -> Step {
        let (key, modified) = (self.encode(key), xml_date(object.modified));
        let _ = write!(
            self.contents,
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;{}&quot;</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            object.etag, object.bytes
        );
        Step::Next
    }

    fn document(self) -> String {
        let next = self.next.as_ref().filter(|next| !next.from.is_empty());
        let element = |name: &str, value: &str| format!("<{name}>{value}</{name}>");
        let mut document =
            String::from("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        document += &element("Name", BUCKET);
        document += &element("Prefix", &self.encode(self.query.text("prefix")));
        document += &element("MaxKeys", &entries_max(self.query).to_string());
        document += &element("IsTruncated", &next.is_some().to_string());
        if self.query.has("delimiter") {
            document += &element("Delimiter", &self.encode(self.query.text("delimiter")));
        }
        if self.query.has("encoding-type") {
            document += &element("EncodingType", "url");
        }
        if is_version_2(self.query) {
            document += &element("KeyCount", &self.entries.to_string());
        }
        match next {
            // The token is opaque to clients, but must survive their XML.
            Some(next) if is_version_2(self.query) => {
                document += &element("NextContinuationToken", &encode_url(&next.from));
            }
            Some(next) => document += &element("NextMarker", &self.encode(&next.after)),
            None => {}
        }
        document + &self.contents + &self.folders + "</ListBucketResult>"
    }

    fn encode(&self, text: &str) -> String {
        match self.query.has("encoding-type") {
            true => encode_url(text),
            false => escape(text),
        }
    }
}

/// Where the page begins.
fn begin(query: &Query) -> String {
    if query.has("continuation-token") {
        return super::query::decode(query.text("continuation-token"));
    }
    let after = query.text(if is_version_2(query) { "start-after" } else { "marker" });
    match folder_of(query, after) {
        Some(folder) if folder == after => behind(&folder),
        _ if after.is_empty() => String::new(),
        _ => format!("{after}\0"),
    }
}

/// The common prefix that stands for a key, where there is a delimiter in it.
fn folder_of(query: &Query, key: &str) -> Option<String> {
    let (prefix, delimiter) = (query.text("prefix"), query.text("delimiter"));
    let rest = key.strip_prefix(prefix).filter(|_| !delimiter.is_empty())?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(format!("{prefix}{}", &rest[..end]))
}

/// The first key that is behind all those that begin with a folder: its delimiter is one character further.
fn behind(folder: &str) -> String {
    let mut characters: Vec<char> = folder.chars().collect();
    let last = characters.pop().and_then(|last| char::from_u32(u32::from(last) + 1));
    characters.into_iter().chain(last).collect()
}

fn entries_max(query: &Query) -> u64 {
    query.number("max-keys").unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX)
}

fn is_version_2(query: &Query) -> bool {
    query.text("list-type") == "2"
}

fn encode_url(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// S3 never puts more into one page.
const ENTRIES_MAX: u64 = 1000;

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

#[cfg(test)]
mod tests {
    use super::super::answer::elements;
    use super::*;

    const KEYS: [&str; 6] = ["a/1", "a/2", "b", "c d", "c/1", "d"];

    #[test]
    fn both_versions_page_through_the_same_names() {
        for version in ["list-type=2", ""] {
            for entries in 1..=6 {
                assert_eq!(
                    names(version, entries),
                    ["b", "c d", "d", "a/", "c/"],
                    "{version}, {entries} a page"
                );
            }
        }
    }

    /// All names in the root, page by page; keys first, as clients sort them in.
    fn names(version: &str, entries: usize) -> Vec<String> {
        let store = Store::default();
        store.fill(KEYS.iter().map(|key| (key.to_string(), Object::new(Default::default(), Vec::new()))));
        let (mut keys, mut folders, mut more) = (Vec::new(), Vec::new(), String::new());
        loop {
            let uri = format!("/bench?{version}&delimiter=/&encoding-type=url&max-keys={entries}{more}");
            let document = page(&store, &Query::of(&uri.parse().expect("it is an address")));
            keys.extend(elements(&document, "Key").iter().map(|key| super::super::query::decode(key)));
            folders
                .extend(elements(&document, "CommonPrefixes").iter().flat_map(|it| elements(it, "Prefix")));
            if elements(&document, "IsTruncated") == ["false"] {
                return [keys, folders].concat();
            }
            let token = elements(&document, "NextContinuationToken");
            more = match token.first() {
                Some(token) => format!("&continuation-token={}", encode_url(token)),
                None => format!("&marker={}", elements(&document, "NextMarker")[0]),
            };
        }
    }
}
