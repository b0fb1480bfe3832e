//! The door: HTTP connections in, answers out.
//!
//! Everything that is not S3's or STS's own business happens here: request ids, the date, the
//! faults that strike after the effect, and the courtesy of reading a body to its end even if the
//! answer is already known. Without that courtesy a refusal would close the connection under
//! a client that is still sending, which would then report a broken pipe and not the refusal.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, DATE, EXPECT, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::service::S3Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::World;
use super::admission;
use super::faults::{Aftermath, Place};
use super::listing::percent_decode;
use super::sts;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One request and its answer, as far as the door is concerned.
#[derive(Debug)]
pub(super) struct Exchange {
    id: String,
    place: Place,
    operation: OnceLock<&'static str>,
    aftermath: Mutex<Aftermath>,
    dropped: AtomicBool,
}

/// Serves connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, door: Door) {
    // Dropping the set ends every connection: an emulator that is gone answers nobody.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(connections.spawn(serve_connection(stream, peer, door.clone()))),
                // The process may be out of descriptors; those in use will be closed some time.
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// What stands behind every connection. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Door {
    world: Arc<World>,
    service: S3Service,
}

impl Door {
    /// Opens a door to a world.
    pub(super) fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), service: admission::service(world) }
    }

    /// Answers one request; an error means that the connection closes instead.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Result<Response<AnswerBody>, BoxError>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + Sync + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let exchange = Arc::new(Exchange::new(parts.uri.path()));
        let for_sts = admission::is_for_sts(&parts.method, &parts.uri, &parts.headers);
        let is_head = parts.method == Method::HEAD;
        let expects = parts.headers.contains_key(EXPECT);
        self.world.faults.moved(length_of(&parts.headers));
        let line = format!("{} {}", parts.method, parts.uri);
        let rest = Arc::new(Mutex::new(None));
        parts.extensions.insert(exchange.clone());
        let body = match for_sts {
            true => s3s::Body::from(read_form(&mut parts.headers, body).await?),
            false => s3s::Body::http_body(Arriving { body: Some(body), begun: false, rest: rest.clone() }),
        };
        let request = Request::from_parts(parts, body);

        let mut response = self.service.call(request).await?;
        if for_sts {
            reword_refusal(&mut response, &exchange).await;
        }
        if is_head && !response.status().is_success() {
            *response.body_mut() = s3s::Body::empty();
        }
        response.headers_mut().insert(DATE, date(&self.world));
        response.headers_mut().insert("x-amz-request-id", header(exchange.id()));
        response.headers_mut().insert("x-amz-id-2", header(exchange.id()));
        tracing::debug!(
            operation = exchange.operation.get().copied().unwrap_or("-"),
            status = response.status().as_u16(),
            line,
            "answered"
        );
        if !is_head {
            self.world.faults.moved(length_of(response.headers()));
        }
        let unread = rest.lock().take();
        read_out(unread, expects).await;
        exchange.send(response).await
    }
}

impl Exchange {
    fn new(path: &str) -> Self {
        let decoded = percent_decode(path).unwrap_or_default();
        let mut names = decoded.trim_start_matches('/').splitn(2, '/').map(str::to_owned);
        let mut name = || names.next().filter(|name| !name.is_empty());
        Self {
            id: format!("{:016X}", fastrand::u64(..)),
            place: Place { bucket: name(), key: name() },
            operation: OnceLock::new(),
            aftermath: Mutex::default(),
            dropped: AtomicBool::new(false),
        }
    }

    /// The id that the answer carries.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What the path names.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Notes which operation the request turned out to be.
    pub(super) fn begin(&self, operation: &'static str) {
        self.operation.get_or_init(|| operation);
    }

    /// Notes what is to happen to the answer.
    pub(super) fn prepare(&self, aftermath: Aftermath) {
        *self.aftermath.lock() = aftermath;
    }

    /// Notes that there is to be no answer.
    pub(super) fn drop_connection(&self) {
        self.dropped.store(true, Ordering::Relaxed);
    }

    async fn send(&self, mut response: Response<s3s::Body>) -> Result<Response<AnswerBody>, BoxError> {
        let Aftermath { hold, replace, lose, cut } = std::mem::take(&mut *self.aftermath.lock());
        for gate in hold {
            gate.pass().await;
        }
        if lose || self.dropped.load(Ordering::Relaxed) {
            return Err("the emulator was told to close this connection".into());
        }
        if let Some((status, body)) = replace {
            *response.status_mut() = StatusCode::from_u16(status)?;
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = s3s::Body::from(body);
        }
        Ok(response.map(|body| AnswerBody { body, left: cut, flushed: false }))
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, door: Door) {
    // With Nagle's algorithm a small answer waits for the acknowledgement of its own head: 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is not to be had");
    }
    let service = service_fn(|request: Request<Incoming>| door.answer(request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

/// Reads a form whole and notes its hash where s3s looks for one.
///
/// Clients of STS need not send the hash. Without it s3s reads the form itself, but none of more
/// than 8 KiB, and policies and tags are more than that at their limits.
async fn read_form<B>(headers: &mut HeaderMap, body: B) -> Result<Bytes, BoxError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let form = Limited::new(body, FORM_BYTES_MAX).collect().await?.to_bytes();
    let hash = Sha256::checksum(&form).iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
    headers.entry("x-amz-content-sha256").or_insert_with(|| header(&hash));
    Ok(form)
}

/// Puts the refusal of a signature into STS's words.
async fn reword_refusal(response: &mut Response<s3s::Body>, exchange: &Exchange) {
    if response.status().is_success() {
        return;
    }
    // Documents of errors are in memory already; nothing is waited for.
    let Ok(document) = std::mem::take(response.body_mut()).collect().await else { return };
    let document = String::from_utf8_lossy(&document.to_bytes()).into_owned();
    match sts::reword(response.headers_mut(), &document, exchange.id()) {
        Some((status, reworded)) => {
            *response.status_mut() = status;
            *response.body_mut() = s3s::Body::from(reworded);
        }
        None => *response.body_mut() = s3s::Body::from(document),
    }
}

/// Reads what is left of a request's body, unless the client waits for permission to send it.
async fn read_out<B: HttpBody + Unpin>(unread: Option<Unread<B>>, expects: bool) {
    let Some(Unread { mut body, begun }) = unread else { return };
    if expects && !begun {
        return;
    }
    while let Some(Ok(_discarded)) = body.frame().await {}
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids, hashes and dates are plain text")
}

/// What a message says that its body has, in bytes.
fn length_of(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// The emulated time, from which clients learn how wrong their own clocks are.
fn date(world: &World) -> HeaderValue {
    let now = DateTime::from(world.clock.now_in_seconds());
    header(&now.fmt(Format::HttpDate).expect("the year has four digits"))
}

/// A request body on its way in; what nobody reads of it comes back when it is dropped.
struct Arriving<B> {
    body: Option<B>,
    begun: bool,
    rest: Arc<Mutex<Option<Unread<B>>>>,
}

struct Unread<B> {
    body: B,
    begun: bool,
}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin> HttpBody for Arriving<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.begun = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(B::size_hint).unwrap_or_default()
    }
}

impl<B> Drop for Arriving<B> {
    fn drop(&mut self) {
        *self.rest.lock() = self.body.take().map(|body| Unread { body, begun: self.begun });
    }
}

/// The body of an answer, which may break off.
pub(super) struct AnswerBody {
    body: s3s::Body,
    /// How many bytes may still leave before the connection breaks.
    left: Option<u64>,
    flushed: bool,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == Some(0) {
            if std::mem::replace(&mut self.flushed, true) {
                return Poll::Ready(Some(Err("the emulator was told to cut this body".into())));
            }
            // hyper sends what it has when a body pauses, and throws it away when a body fails.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context)?);
        Poll::Ready(frame.map(|frame| {
            Ok(frame.map_data(|mut bytes| {
                if let Some(left) = &mut self.left {
                    bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= bytes.len() as u64;
                }
                bytes
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

/// Far more than the parameters of any operation at their limits.
const FORM_BYTES_MAX: usize = 1 << 20;
const ACCEPT_RETRY: std::time::Duration = std::time::Duration::from_millis(100);
