//! Requests for objects and for uploads.

use std::ops::Range;
use std::sync::Arc;

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use hyper::{Method, StatusCode};

use super::BUCKET;
use super::answer::{Answer, Refusal, add, elements, empty, escape, http_date, quoted, xml, xml_date};
use super::door::Asked;
use super::leaving::Leaving;
use super::query::decode;
use super::store::{Kept, Object, Store, conditions_hold};

type Outcome = Result<Answer, Refusal>;

/// Answers a request for the object of a key, and says what it was.
pub(crate) fn answer(store: &Store, asked: &Asked, key: &str) -> (&'static str, Outcome) {
    let query = &asked.query;
    let copies = asked.headers.contains_key(COPY_SOURCE);
    match asked.method {
        _ if SUBRESOURCES.iter().any(|name| query.has(name)) => ("Other", Err(Refusal::NOT_IMPLEMENTED)),
        Method::GET if query.has("uploadId") => ("ListParts", Err(Refusal::NOT_IMPLEMENTED)),
        Method::GET => ("GetObject", get(store, asked, key)),
        Method::HEAD => ("HeadObject", get(store, asked, key)),
        Method::PUT if query.has("uploadId") && copies => ("UploadPartCopy", copy_part(store, asked)),
        Method::PUT if query.has("uploadId") => ("UploadPart", add_part(store, asked)),
        Method::PUT if copies => ("CopyObject", copy(store, asked, key)),
        Method::PUT => ("PutObject", put(store, asked, key)),
        Method::POST if query.has("uploads") => ("CreateMultipartUpload", Ok(begin(store, asked, key))),
        Method::POST if query.has("uploadId") => ("CompleteMultipartUpload", complete(store, asked, key)),
        Method::DELETE if query.has("uploadId") => {
            store.abort(query.text("uploadId"));
            ("AbortMultipartUpload", Ok(empty(StatusCode::NO_CONTENT)))
        }
        Method::DELETE => {
            store.remove(key);
            ("DeleteObject", Ok(empty(StatusCode::NO_CONTENT)))
        }
        _ => ("Other", Err(Refusal::NOT_IMPLEMENTED)),
    }
}

fn get(store: &Store, asked: &Asked, key: &str) -> Outcome {
    let object = store.find(key)?;
    if !conditions_hold(&asked.headers, Some(&object.etag)) {
        let unchanged = asked.headers.contains_key(IF_NONE_MATCH);
        return Err(if unchanged { Refusal::NOT_MODIFIED } else { Refusal::PRECONDITION_FAILED });
    }
    let range = asked.header(RANGE.as_str()).and_then(|range| read_range(range, object.bytes)).transpose()?;
    let (mut answer, range) = match range {
        None => (empty(StatusCode::OK), 0..object.bytes),
        Some(range) => (empty(StatusCode::PARTIAL_CONTENT), range),
    };
    if answer.status() == StatusCode::PARTIAL_CONTENT {
        let (last, all) = (range.end - 1, object.bytes);
        add(&mut answer, CONTENT_RANGE, format!("bytes {}-{last}/{all}", range.start));
    }
    describe(&mut answer, &object);
    add(&mut answer, CONTENT_LENGTH, range.end - range.start);
    if asked.method == Method::GET {
        *answer.body_mut() = Leaving::new(object.content.slice(range));
    }
    Ok(answer)
}

fn describe(answer: &mut Answer, object: &Object) {
    add(answer, CONTENT_TYPE, "binary/octet-stream");
    answer.headers_mut().extend(object.kept.iter().cloned());
    add(answer, ETAG, quoted(&object.etag));
    add(answer, LAST_MODIFIED, http_date(object.modified));
    add(answer, ACCEPT_RANGES, "bytes");
}

fn put(store: &Store, asked: &Asked, key: &str) -> Outcome {
    let object = Object::new(asked.body.clone().into(), kept(asked));
    store.put(key, object.clone(), &asked.headers)?;
    Ok(stored(asked, &object.etag))
}

fn copy(store: &Store, asked: &Asked, key: &str) -> Outcome {
    let source = source(store, asked)?;
    let replaces = asked.header("x-amz-metadata-directive") == Some("REPLACE");
    let kept = if replaces { kept(asked) } else { source.kept.clone() };
    let object = Object::new(source.content.clone(), kept);
    store.put(key, object.clone(), &asked.headers)?;
    Ok(copied("CopyObjectResult", &object))
}

fn begin(store: &Store, asked: &Asked, key: &str) -> Answer {
    let (id, key) = (store.begin(key, kept(asked)), escape(key));
    xml(&format!(
        "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
         </InitiateMultipartUploadResult>"
    ))
}

fn add_part(store: &Store, asked: &Asked) -> Outcome {
    let (id, number) = part_of(asked)?;
    store.add_part(id, number, asked.body.clone().into())?;
    Ok(stored(asked, &number.to_string()))
}

fn copy_part(store: &Store, asked: &Asked) -> Outcome {
    let (id, number) = part_of(asked)?;
    let source = source(store, asked)?;
    let range = asked.header("x-amz-copy-source-range").and_then(|range| read_range(range, source.bytes));
    let content = source.content.slice(range.transpose()?.unwrap_or(0..source.bytes));
    store.add_part(id, number, content)?;
    Ok(copied("CopyPartResult", &source))
}

fn complete(store: &Store, asked: &Asked, key: &str) -> Outcome {
    let numbers: Result<Vec<u32>, _> =
        elements(&asked.document(), "PartNumber").iter().map(|number| number.trim().parse()).collect();
    let numbers = numbers.map_err(|_| Refusal::INVALID_REQUEST)?;
    let object = store.complete(key, asked.query.text("uploadId"), &numbers, &asked.headers)?;
    let (key, etag) = (escape(key), escape(&quoted(&object.etag)));
    Ok(xml(&format!(
        "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><ETag>{etag}</ETag>\
         </CompleteMultipartUploadResult>"
    )))
}

/// The upload and the number that a part is for.
fn part_of(asked: &Asked) -> Result<(&str, u32), Refusal> {
    let number = asked.query.number("partNumber").and_then(|number| number.try_into().ok());
    Ok((asked.query.text("uploadId"), number.ok_or(Refusal::INVALID_REQUEST)?))
}

/// The object that is to be copied, if it still is the one that is meant.
fn source(store: &Store, asked: &Asked) -> Result<Arc<Object>, Refusal> {
    let source = decode(asked.header(COPY_SOURCE).unwrap_or_default());
    let (bucket, key) = source.trim_start_matches('/').split_once('/').ok_or(Refusal::INVALID_REQUEST)?;
    if bucket != BUCKET {
        return Err(Refusal::NO_SUCH_BUCKET);
    }
    let object = store.find(key)?;
    match asked.header("x-amz-copy-source-if-match") {
        Some(etag) if etag.trim_matches('"') != object.etag => Err(Refusal::PRECONDITION_FAILED),
        _ => Ok(object),
    }
}

/// The answer to bytes that were sent. Checksums come back as they came: the SDKs compare them.
fn stored(asked: &Asked, etag: &str) -> Answer {
    let mut answer = empty(StatusCode::OK);
    add(&mut answer, ETAG, quoted(etag));
    let checksums = asked.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-checksum-"));
    answer.headers_mut().extend(checksums.map(|(name, value)| (name.clone(), value.clone())));
    answer
}

fn copied(result: &str, object: &Object) -> Answer {
    let (modified, etag) = (xml_date(object.modified), escape(&quoted(&object.etag)));
    xml(&format!("<{result}><LastModified>{modified}</LastModified><ETag>{etag}</ETag></{result}>"))
}

/// The headers that S3 keeps with an object.
fn kept(asked: &Asked) -> Kept {
    let keeps = |name: &HeaderName| KEPT.contains(name) || name.as_str().starts_with("x-amz-meta-");
    let kept = asked.headers.iter().filter(|(name, _)| keeps(name));
    kept.filter_map(|(name, value)| Some((name.clone(), without_chunking(name, value)?))).collect()
}

/// `aws-chunked` is how the body travelled, and no property of the object.
fn without_chunking(name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    if name != CONTENT_ENCODING {
        return Some(value.clone());
    }
    let rest = value.to_str().ok()?.replace("aws-chunked", "");
    HeaderValue::from_str(rest.trim_matches([',', ' '])).ok().filter(|rest| !rest.is_empty())
}

/// Reads `bytes=from-to`, `bytes=from-` and `bytes=-last`. What cannot be read is ignored, as S3 does.
fn read_range(text: &str, bytes: u64) -> Option<Result<Range<u64>, Refusal>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match from.is_empty() {
        true => bytes.saturating_sub(to.parse().ok()?)..bytes,
        false if to.is_empty() => from.parse().ok()?..bytes,
        false => from.parse().ok()?..to.parse::<u64>().ok()?.saturating_add(1).min(bytes),
    };
    Some(if range.is_empty() { Err(Refusal::INVALID_RANGE) } else { Ok(range) })
}

const COPY_SOURCE: &str = "x-amz-copy-source";

const SUBRESOURCES: [&str; 3] = ["acl", "tagging", "renameObject"];

const KEPT: [HeaderName; 6] =
    [CONTENT_TYPE, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CONTENT_ENCODING, EXPIRES];
