//! Requests for the bucket itself.

use hyper::header::HeaderName;
use hyper::{Method, StatusCode};

use super::answer::{Answer, Refusal, add, elements, empty, escape, xml};
use super::door::Asked;
use super::listing;
use super::store::Store;

/// Answers a request for the bucket, and says what it was.
pub(crate) fn answer(store: &Store, asked: &Asked) -> (&'static str, Result<Answer, Refusal>) {
    let configuration = CONFIGURATIONS.iter().find(|name| asked.query.has(name));
    match asked.method {
        Method::HEAD => ("HeadBucket", Ok(head())),
        // rclone makes the bucket before it writes.
        Method::PUT => ("CreateBucket", Ok(empty(StatusCode::OK))),
        Method::POST if asked.query.has("delete") => ("DeleteObjects", Ok(remove(store, asked))),
        Method::GET if configuration.is_some() => ("GetConfiguration", Err(Refusal::NO_SUCH_CONFIGURATION)),
        Method::GET if asked.query.has("location") => ("GetConfiguration", Ok(xml("<LocationConstraint/>"))),
        Method::GET if asked.query.has("versioning") => {
            ("GetConfiguration", Ok(xml("<VersioningConfiguration/>")))
        }
        Method::GET => ("ListObjects", Ok(xml(&listing::page(store, &asked.query)))),
        _ => ("Unknown", Err(Refusal::NOT_IMPLEMENTED)),
    }
}

fn head() -> Answer {
    let mut answer = empty(StatusCode::OK);
    add(&mut answer, HeaderName::from_static("x-amz-bucket-region"), "us-east-1");
    answer
}

fn remove(store: &Store, asked: &Asked) -> Answer {
    let mut deleted = String::new();
    for key in elements(&asked.document(), "Key") {
        store.remove(&key);
        deleted += &format!("<Deleted><Key>{}</Key></Deleted>", escape(&key));
    }
    xml(&format!("<DeleteResult>{deleted}</DeleteResult>"))
}

const CONFIGURATIONS: [&str; 9] = [
    "acl",
    "cors",
    "encryption",
    "lifecycle",
    "object-lock",
    "policy",
    "tagging",
    "uploads",
    "ownershipControls",
];
