//! The door: HTTP connections in, answers out, at the network's shape.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{Answer, Refusal};
use super::arriving::receive;
use super::leaving::Leaving;
use super::query::{Query, decode};
use super::shape::Shape;
use super::store::Store;
use super::{BUCKET, bucket, control, objects};

/// Everything that connections share.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) shape: Shape,
    /// How often each operation was asked for.
    pub(crate) requests: Mutex<BTreeMap<&'static str, u64>>,
}

/// A request that has arrived whole.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    /// Returns a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the body as the document that it is.
    pub(crate) fn document(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Serves connections for as long as the process lives.
pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(converse(stream, server.clone()))),
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, server: Arc<Server>) {
    // With Nagle's algorithm a small answer waits for the acknowledgement of its own head: 40 ms.
    let _nodelay = stream.set_nodelay(true);
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&server, request).await));
    let mut connection = hyper::server::conn::http1::Builder::new();
    // Whatever ends a connection, the client is the one to complain.
    let _ended = connection.max_buf_size(READ_BYTES).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(server: &Server, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = decode(parts.uri.path());
    let query = Query::of(&parts.uri);
    if let Some(command) = path.strip_prefix("/_control/") {
        return control::answer(server, command, &query).unwrap_or_else(Answer::from);
    }
    let outcome = match receive(&parts.headers, body, server.shape.pace()).await {
        Ok(body) => {
            server.shape.first_byte().await;
            dispatch(
                server,
                &path,
                &Asked { method: parts.method.clone(), query, headers: parts.headers, body },
            )
        }
        Err(_incomplete) => Err(Refusal::INVALID_REQUEST),
    };
    let answer = outcome.unwrap_or_else(Answer::from);
    match parts.method == Method::HEAD {
        true => answer.map(|_| Leaving::default()),
        false => answer.map(|body| body.paced(server.shape.pace())),
    }
}

fn dispatch(server: &Server, path: &str, asked: &Asked) -> Result<Answer, Refusal> {
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return Err(Refusal::NO_SUCH_BUCKET);
    }
    let (operation, outcome) = match key {
        "" => bucket::answer(&server.store, asked),
        key => objects::answer(&server.store, asked, key),
    };
    *server.requests.lock().entry(operation).or_default() += 1;
    outcome
}

/// How much is taken from a connection at once: less makes large uploads slow, for each piece wakes the task.
const READ_BYTES: usize = 1 << 20;
