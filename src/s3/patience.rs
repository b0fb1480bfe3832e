//! How long an answer to a bulky request may keep us waiting.
//!
//! Such a request has no time limit of its own: 5 GiB over a slow line take hours. What may be limited is standing
//! still. The SDK watches a body that it is handed in pieces, but a part of a file is one piece, taken over as a whole
//! at once, and after that nothing was watched at all: a server that takes bytes and says nothing, a proxy whose other
//! side is gone, had close(2) wait for ever.
//!
//! So a body is handed over here in [`PIECE_BYTES`], as fast as the connection takes them, and the clock starts anew with
//! each piece. The last one may still be on its way then, and S3 works on it:
//!
//! | what was sent | the answer must begin |
//! | --- | --- |
//! | the bytes of an object or of a part | [`AFTER_BYTES`] after the last piece was taken |
//! | anything else: a copy, a completion, which S3 may work on for minutes | [`AFTER_QUESTION`] after it was sent |
//!
//! What stood still is tried again, as any connection that broke, up to [`ATTEMPTS_MAX`] times instead of ten.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::silence::Silence;

/// The same connections, with patience that ends. `silence` hears of each piece that one of them takes.
pub(super) fn limited(connections: SharedHttpClient, silence: &Arc<Silence>) -> SharedHttpClient {
    SharedHttpClient::new(Limited { connections, silence: Arc::clone(silence) })
}

#[derive(Debug)]
struct Limited {
    connections: SharedHttpClient,
    silence: Arc<Silence>,
}

impl HttpClient for Limited {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.connections.http_connector(settings, components);
        SharedHttpConnector::new(LimitedConnector { connector, silence: Arc::clone(&self.silence) })
    }
}

#[derive(Debug)]
struct LimitedConnector {
    connector: SharedHttpConnector,
    silence: Arc<Silence>,
}

impl HttpConnector for LimitedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let attempt = attempt(&request);
        let carries_bytes = request.method() == "PUT" && request.body().content_length() != Some(0);
        let patience = if carries_bytes { AFTER_BYTES } else { AFTER_QUESTION };
        let progress = Arc::new(Mutex::new(Instant::now()));
        if carries_bytes {
            let whole = std::mem::replace(request.body_mut(), SdkBody::taken());
            let (progress, silence) = (Arc::clone(&progress), Arc::clone(&self.silence));
            let pieces = Pieces { whole, rest: Bytes::new(), progress, silence };
            *request.body_mut() = SdkBody::from_body_1_x(pieces);
        }
        let answer = self.connector.call(request);
        HttpConnectorFuture::new(async move {
            tokio::select! {
                biased;
                answer = answer => answer,
                () = stands_still(&progress, patience) => Err(given_up(attempt, patience)),
            }
        })
    }
}

/// Returns when nothing has moved for so long.
async fn stands_still(progress: &Mutex<Instant>, patience: Duration) {
    loop {
        let until = *progress.lock() + patience;
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// A timeout is tried again by the SDK; the last one is to look like nothing that is.
fn given_up(attempt: u32, patience: Duration) -> ConnectorError {
    let error = StoodStill(patience).into();
    if attempt < ATTEMPTS_MAX { ConnectorError::timeout(error) } else { ConnectorError::user(error) }
}

/// Which attempt at its request this is, counted from one, as the SDK tells S3 (`attempt=2; max=10`).
fn attempt(request: &HttpRequest) -> u32 {
    let told = request.headers().get("amz-sdk-request");
    let attempt = told.and_then(|told| told.split(';').find_map(|pair| pair.trim().strip_prefix("attempt=")));
    attempt.and_then(|attempt| attempt.parse().ok()).unwrap_or(ATTEMPTS_MAX)
}

#[derive(Debug)]
struct StoodStill(Duration);

impl fmt::Display for StoodStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer, and nothing moved for {} s", self.0.as_secs())
    }
}

impl std::error::Error for StoodStill {}

/// A body in pieces, none of which is copied.
#[derive(Debug)]
struct Pieces {
    whole: SdkBody,
    rest: Bytes,
    progress: Arc<Mutex<Instant>>,
    silence: Arc<Silence>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        *self.progress.lock() = Instant::now();
        self.silence.end();
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.whole).poll_frame(context))
                .map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(bytes))) => self.rest = bytes,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece_bytes = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece_bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (whole, rest) = (self.whole.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(whole.lower() + rest);
        if let Some(upper) = whole.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// hyper takes some 400 KB at a time (`DEFAULT_MAX_BUFFER_SIZE`), and four of these in one system call.
const PIECE_BYTES: usize = 128 << 10;

/// What hyper and the kernel have taken and not sent yet, half a megabyte, passes in this time at 5 KB/s: twenty-four
/// parts at a time over a line of one megabit. A server that has all of it answers within a second or so.
const AFTER_BYTES: Duration = Duration::from_secs(120);

/// S3 begins to answer these at once and sends spaces while it works. Other servers say nothing before they are done,
/// with as much as 5 GiB.
const AFTER_QUESTION: Duration = Duration::from_secs(300);

const ATTEMPTS_MAX: u32 = 3;

#[cfg(all(test, feature = "emulator"))]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// A server that takes a piece in each so many seconds, and says nothing in the end.
    #[derive(Debug, Clone, Copy)]
    struct Slow {
        piece: Duration,
    }

    impl HttpConnector for Slow {
        fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
            let pause = self.piece;
            HttpConnectorFuture::new(async move {
                let mut body = std::mem::replace(request.body_mut(), SdkBody::taken());
                while let Some(piece) = body.frame().await {
                    piece.map_err(|error| ConnectorError::other(error, None))?;
                    tokio::time::sleep(pause).await;
                }
                std::future::pending().await
            })
        }
    }

    /// How long a request lasted, and what it came to.
    async fn sent(method: &str, bytes: usize, attempt: u32, piece: Duration) -> (Duration, ConnectorError) {
        let mut request = HttpRequest::new(SdkBody::from(vec![0; bytes]));
        request.set_method(method).expect("a method");
        request.headers_mut().insert("amz-sdk-request", format!("attempt={attempt}; max=10"));
        let begun = Instant::now();
        let connector =
            LimitedConnector { connector: SharedHttpConnector::new(Slow { piece }), silence: Arc::default() };
        let error = connector.call(request).await.expect_err("nobody answers");
        (begun.elapsed(), error)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_moves_may_take_hours() {
        let hour = 60 * AFTER_BYTES / 2;
        let (lasted, error) = sent("PUT", 60 * PIECE_BYTES, 1, AFTER_BYTES / 2).await;
        assert!(lasted > hour && lasted < hour + 2 * AFTER_BYTES, "{lasted:?}");
        assert!(error.is_timeout());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_still_may_not() {
        let (lasted, _) = sent("PUT", 60 * PIECE_BYTES, 1, Duration::from_secs(86_400)).await;
        assert!(lasted < 2 * AFTER_BYTES, "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_carries_no_bytes_is_given_more_time() {
        for (method, bytes) in [("POST", 100), ("PUT", 0)] {
            let (lasted, _) = sent(method, bytes, 1, Duration::ZERO).await;
            assert!(lasted >= AFTER_QUESTION && lasted < 2 * AFTER_QUESTION, "{lasted:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_is_not_tried_again() {
        for attempt in 1..=ATTEMPTS_MAX {
            let (_, error) = sent("PUT", 1, attempt, Duration::ZERO).await;
            assert_eq!(error.is_timeout(), attempt < ATTEMPTS_MAX, "attempt {attempt}: {error}");
        }
    }
}
