//! Answers, and the refusals among them.

use std::fmt::Display;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::leaving::Leaving;
use super::rope::Rope;

/// An answer on its way out.
pub(crate) type Answer = Response<Leaving>;

/// Why something was not done: the status and S3's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(StatusCode, &'static str);

impl Refusal {
    pub(crate) const INVALID_PART: Self = Self(StatusCode::BAD_REQUEST, "InvalidPart");
    pub(crate) const INVALID_RANGE: Self = Self(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    pub(crate) const INVALID_REQUEST: Self = Self(StatusCode::BAD_REQUEST, "InvalidRequest");
    pub(crate) const NOT_IMPLEMENTED: Self = Self(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    pub(crate) const NOT_MODIFIED: Self = Self(StatusCode::NOT_MODIFIED, "NotModified");
    pub(crate) const NO_SUCH_BUCKET: Self = Self(StatusCode::NOT_FOUND, "NoSuchBucket");
    pub(crate) const NO_SUCH_CONFIGURATION: Self = Self(StatusCode::NOT_FOUND, "NoSuchConfiguration");
    pub(crate) const NO_SUCH_KEY: Self = Self(StatusCode::NOT_FOUND, "NoSuchKey");
    pub(crate) const NO_SUCH_UPLOAD: Self = Self(StatusCode::NOT_FOUND, "NoSuchUpload");
    pub(crate) const PRECONDITION_FAILED: Self = Self(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
}

impl From<Refusal> for Answer {
    fn from(Refusal(status, code): Refusal) -> Self {
        let mut answer = xml(&format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"));
        *answer.status_mut() = status;
        if status == StatusCode::NOT_MODIFIED {
            *answer.body_mut() = Leaving::default();
        }
        answer
    }
}

/// An answer that says no more than that it was done.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// An answer with a document of S3's.
pub(crate) fn xml(document: &str) -> Answer {
    let declared = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}");
    typed("application/xml", declared.into())
}

/// An answer for the measuring program.
pub(crate) fn json(value: &Value) -> Answer {
    typed("application/json", value.to_string().into())
}

/// Adds a header. Values come from requests that had them as headers, or from ourselves.
pub(crate) fn add(answer: &mut Answer, name: HeaderName, value: impl Display) {
    let value = HeaderValue::from_str(&value.to_string()).expect("what was a header can be one again");
    answer.headers_mut().insert(name, value);
}

/// An ETag as it stands in headers and, escaped, in documents.
pub(crate) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// A time as headers have it.
pub(crate) fn http_date(at: DateTime) -> String {
    at.fmt(Format::HttpDate).expect("the year has four digits")
}

/// A time as documents have it.
pub(crate) fn xml_date(at: DateTime) -> String {
    at.fmt(Format::DateTime).expect("the year has four digits")
}

/// Escapes text for a document.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the contents of all elements of a name in a document, as far as these hold text only.
pub(crate) fn elements(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let contents = document.split(open.as_str()).skip(1).filter_map(|rest| rest.split_once(close.as_str()));
    contents.map(|(content, _)| unescape(content)).collect()
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#34;", "\"");
    text.replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&")
}

fn typed(content_type: &'static str, content: Bytes) -> Answer {
    let mut answer = Response::new(Leaving::new(Rope::from(content)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
