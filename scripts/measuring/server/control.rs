//! What the measuring program says and asks, below `/_control/`. It is never delayed and never counted.
//!
//! ```text
//! shape?first_byte_ms=20&bytes_per_second=90000000    changes the network
//! fill?key=K&bytes=N[&count=C]                        makes an object, or C of them called K000000, K000001, ..
//! wipe?prefix=P                                       removes objects
//! object?key=K      {"bytes": N, "etag": ".."}        what is there; null if nothing is
//! count?prefix=P    N                                 how many files are there; markers of directories are none
//! requests          {"GetObject": N, ..}              what was asked for since this was last asked
//! ```

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::json;

use super::answer::{Answer, Refusal, json};
use super::door::Server;
use super::query::Query;
use super::rope::Rope;
use super::store::{Object, Step};

/// Does and answers what is asked.
pub(crate) fn answer(server: &Server, command: &str, query: &Query) -> Result<Answer, Refusal> {
    let number = |name| query.number(name).ok_or(Refusal::INVALID_REQUEST);
    match command {
        "shape" => server.shape.set(number("first_byte_ms")?, number("bytes_per_second")?),
        "fill" => fill(server, query.text("key"), number("bytes")?, query.number("count")),
        "wipe" => server.store.wipe(query.text("prefix")),
        "object" => {
            let object = server.store.find(query.text("key")).ok();
            return Ok(json(&object.map(|it| json!({"bytes": it.bytes, "etag": it.etag})).into()));
        }
        "count" => return Ok(json(&count(server, query.text("prefix")).into())),
        "requests" => return Ok(json(&json!(std::mem::take(&mut *server.requests.lock())))),
        _ => return Err(Refusal::NOT_IMPLEMENTED),
    }
    Ok(json(&json!(true)))
}

fn fill(server: &Server, key: &str, bytes: u64, count: Option<u64>) {
    let keys: Vec<_> = match count {
        None => vec![key.to_owned()],
        Some(count) => (0..count).map(|number| format!("{key}{number:06}")).collect(),
    };
    server.store.fill(keys.into_iter().map(|key| {
        let content = noise(bytes);
        (key, Object::new(content, Vec::new()))
    }));
}

fn count(server: &Server, prefix: &str) -> u64 {
    let mut count = 0;
    server.store.walk(prefix, String::new(), |key, _| {
        count += u64::from(!key.ends_with('/'));
        Step::Next
    });
    count
}

/// Bytes that do not compress, beginning somewhere else each time so that no two objects are alike.
fn noise(bytes: u64) -> Rope {
    let mut content = Rope::default();
    let mut begin = fastrand::usize(..NOISE_BYTES);
    let mut left = bytes as usize;
    while left > 0 {
        let piece = NOISE.slice(begin..NOISE_BYTES.min(begin + left));
        left -= piece.len();
        begin = 0;
        content.append(piece.into());
    }
    content
}

static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = vec![0; NOISE_BYTES];
    fastrand::fill(&mut noise);
    noise.into()
});

/// Large objects repeat it. More than a processor's cache holds, or the memory would look faster than it is.
const NOISE_BYTES: usize = 256 << 20;
