//! What the bucket holds: objects, and uploads under way.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use aws_smithy_types::DateTime;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use parking_lot::RwLock;

use super::answer::Refusal;
use super::rope::Rope;

/// Headers that are kept with an object.
pub(crate) type Kept = Vec<(HeaderName, HeaderValue)>;

/// One version of an object. It never changes; writing makes another.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) content: Rope,
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    pub(crate) modified: DateTime,
    pub(crate) kept: Kept,
}

/// The bucket.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// By key, in the order of listings.
    objects: RwLock<BTreeMap<String, Arc<Object>>>,
    uploads: RwLock<HashMap<String, Upload>>,
}

#[derive(Debug)]
struct Upload {
    key: String,
    kept: Kept,
    parts: BTreeMap<u32, Rope>,
}

impl Object {
    /// Makes a version of what was sent or copied.
    pub(crate) fn new(content: Rope, kept: Kept) -> Arc<Self> {
        Arc::new(Self { bytes: content.len(), content, etag: new_etag(), modified: now(), kept })
    }
}

impl Store {
    /// Returns the present version of an object.
    pub(crate) fn find(&self, key: &str) -> Result<Arc<Object>, Refusal> {
        self.objects.read().get(key).cloned().ok_or(Refusal::NO_SUCH_KEY)
    }

    /// Puts an object in its place, if the conditions among the headers hold.
    pub(crate) fn put(&self, key: &str, object: Arc<Object>, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut objects = self.objects.write();
        if !conditions_hold(headers, objects.get(key).map(|object| object.etag.as_str())) {
            return Err(Refusal::PRECONDITION_FAILED);
        }
        objects.insert(key.to_owned(), object);
        Ok(())
    }

    /// Puts many objects in their places.
    pub(crate) fn fill(&self, objects: impl Iterator<Item = (String, Arc<Object>)>) {
        self.objects.write().extend(objects);
    }

    /// Removes an object; that there is none is just as well.
    pub(crate) fn remove(&self, key: &str) {
        self.objects.write().remove(key);
    }

    /// Removes all objects below a prefix, and forgets all uploads.
    pub(crate) fn wipe(&self, prefix: &str) {
        self.objects.write().retain(|key, _| !key.starts_with(prefix));
        self.uploads.write().clear();
    }

    /// Walks over the objects below a prefix in their order, from a key on, until `visit` returns where to go on
    /// instead, and again from there, until the end or until `visit` has had enough.
    pub(crate) fn walk(&self, prefix: &str, from: String, mut visit: impl FnMut(&str, &Object) -> Step) {
        let objects = self.objects.read();
        let mut from = from.max(prefix.to_owned());
        'leaps: loop {
            let rest = objects.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded));
            for (key, object) in rest.take_while(|(key, _)| key.starts_with(prefix)) {
                match visit(key, object) {
                    Step::Next => {}
                    Step::Leap(to) => {
                        from = to;
                        continue 'leaps;
                    }
                    Step::Stop => return,
                }
            }
            return;
        }
    }

    /// Begins an upload and returns its id.
    pub(crate) fn begin(&self, key: &str, kept: Kept) -> String {
        let id = new_etag();
        self.uploads.write().insert(id.clone(), Upload { key: key.to_owned(), kept, parts: BTreeMap::new() });
        id
    }

    /// Adds a part to an upload.
    pub(crate) fn add_part(&self, id: &str, number: u32, content: Rope) -> Result<(), Refusal> {
        let mut uploads = self.uploads.write();
        uploads.get_mut(id).ok_or(Refusal::NO_SUCH_UPLOAD)?.parts.insert(number, content);
        Ok(())
    }

    /// Makes an object of the parts of an upload, in the order of their numbers.
    pub(crate) fn complete(
        &self,
        key: &str,
        id: &str,
        numbers: &[u32],
        headers: &HeaderMap,
    ) -> Result<Arc<Object>, Refusal> {
        let mut uploads = self.uploads.write();
        let upload = uploads.get(id).filter(|upload| upload.key == key).ok_or(Refusal::NO_SUCH_UPLOAD)?;
        let mut content = Rope::default();
        for number in numbers {
            content.append(upload.parts.get(number).cloned().ok_or(Refusal::INVALID_PART)?);
        }
        let object = Object::new(content, upload.kept.clone());
        self.put(key, object.clone(), headers)?;
        uploads.remove(id);
        Ok(object)
    }

    /// Forgets an upload.
    pub(crate) fn abort(&self, id: &str) {
        self.uploads.write().remove(id);
    }
}

/// Where a walk goes after an object.
#[derive(Debug)]
pub(crate) enum Step {
    Next,
    /// To the first key that is not before this one.
    Leap(String),
    Stop,
}

/// Tells whether `If-Match` and `If-None-Match` allow for what is there.
pub(crate) fn conditions_hold(headers: &HeaderMap, present: Option<&str>) -> bool {
    let named = |name: HeaderName| {
        let etag = headers.get(name)?.to_str().ok()?.trim_matches('"').to_owned();
        Some(present.is_some_and(|present| etag == "*" || etag == present))
    };
    named(IF_MATCH).unwrap_or(true) && !named(IF_NONE_MATCH).unwrap_or(false)
}

/// As those of uploads in parts are, it is no MD5, so that no client computes one to compare.
fn new_etag() -> String {
    format!("{:032x}-1", fastrand::u128(..))
}

#[expect(clippy::disallowed_methods, reason = "the clock of the program is its own; this is a server")]
fn now() -> DateTime {
    std::time::SystemTime::now().into()
}
