//! Whether S3 answers, for the people whose programs wait for it.
//!
//! A request that is not answered is tried again for minutes before a program hears of it ([`client`](super::client)). For so
//! long an `ls` just hangs, and whoever looks for the reason finds it here: each request that was sent and not served yet
//! is known, and so is when S3 last gave a sign of life in this bucket.
//!
//! | happens | counts as |
//! | --- | --- |
//! | an answer begins, whatever it says | a sign of life; the request is served |
//! | it is that the server cannot (5xx), or that there are too many requests (429) | nothing; the request waits on |
//! | a connection takes more bytes of an object | a sign of life: a slow line is not a silent one |
//! | an attempt breaks off | nothing; its reason is kept |
//!
//! A request that waits for credentials is not sent yet, and whoever renews them says what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::innermost_words;

/// What waits for S3, which says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Since when nothing has come from it.
    pub lasts: Duration,
    /// How many requests wait.
    pub requests: usize,
    /// What the first of them asks for, such as `ListObjectsV2`.
    pub first: String,
    /// What the last attempt came to, if one has ended.
    pub trouble: Option<String>,
}

/// The requests of a bucket that S3 has yet to serve.
#[derive(Debug, Default)]
pub(super) struct Silence {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were sent first.
    waiting: BTreeMap<u64, Waiting>,
    sent: u64,
    heard: Option<Instant>,
    trouble: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    operation: String,
    since: Instant,
}

impl Silence {
    /// What waits, if nothing has come from S3 for at least so long.
    pub(super) fn lasting(&self, at_least: Duration) -> Option<Silent> {
        let state = self.state.lock();
        let first = state.waiting.values().next()?;
        let lasts = state.heard.map_or(first.since, |heard| heard.max(first.since)).elapsed();
        (lasts >= at_least).then(|| Silent {
            lasts,
            requests: state.waiting.len(),
            first: first.operation.clone(),
            trouble: state.trouble.clone(),
        })
    }

    /// S3 has given a sign of life.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        (state.heard, state.trouble) = (Some(Instant::now()), None);
    }

    fn wait(self: &Arc<Self>, operation: &str) -> Question {
        let mut state = self.state.lock();
        state.sent += 1;
        let number = state.sent;
        state.waiting.insert(number, Waiting { operation: operation.to_owned(), since: Instant::now() });
        Question { silence: Arc::clone(self), number }
    }

    fn trouble(&self, words: String) {
        self.state.lock().trouble = Some(words);
    }
}

/// A request that was sent, until it is served or given up.
#[derive(Debug)]
struct Question {
    silence: Arc<Silence>,
    number: u64,
}

impl Storable for Question {
    type Storer = StoreReplace<Self>;
}

impl Drop for Question {
    fn drop(&mut self) {
        self.silence.state.lock().waiting.remove(&self.number);
    }
}

/// Listens to the requests of one bucket.
#[derive(Debug)]
pub(super) struct Listening(pub(super) Arc<Silence>);

impl Intercept for Listening {
    fn name(&self) -> &'static str {
        "listen whether S3 answers"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if bag.load::<Question>().is_none() {
            let question = self.0.wait(bag.load::<Metadata>().map_or("", Metadata::name));
            bag.interceptor_state().store_put(question);
        }
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context.response().status();
        if status.is_server_error() || status.as_u16() == TOO_MANY_REQUESTS {
            self.0.trouble(format!("it was answered with {}", status.as_u16()));
        } else {
            self.0.end();
            bag.interceptor_state().unset::<Question>();
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (None, Some(Err(error))) = (context.response(), context.output_or_error()) {
            let words =
                error.as_connector_error().map_or_else(|| "no answer".to_owned(), |at| innermost_words(at));
            self.0.trouble(words);
        }
        Ok(())
    }
}

const TOO_MANY_REQUESTS: u16 = 429;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn silence_lasts_from_the_first_question_or_the_last_sign_of_life() {
        let silence = Arc::new(Silence::default());
        silence.end();
        tokio::time::advance(PATIENCE).await;
        assert_eq!(silence.lasting(PATIENCE), None, "nobody has asked");
        let first = silence.wait("ListObjectsV2");
        tokio::time::advance(PATIENCE).await;
        let second = silence.wait("HeadObject");
        silence.trouble("Connection refused".to_owned());
        let told = Silent {
            lasts: PATIENCE,
            requests: 2,
            first: "ListObjectsV2".to_owned(),
            trouble: Some("Connection refused".to_owned()),
        };
        assert_eq!(silence.lasting(PATIENCE), Some(told));
        drop(first);
        assert_eq!(silence.lasting(PATIENCE), None, "the other was sent a moment ago");
        tokio::time::advance(PATIENCE).await;
        silence.end();
        assert_eq!(silence.lasting(PATIENCE), None, "and S3 is at work");
        tokio::time::advance(PATIENCE).await;
        assert_eq!(silence.lasting(PATIENCE).map(|silent| silent.trouble), Some(None));
        drop(second);
        assert_eq!(silence.lasting(Duration::ZERO), None);
    }
}
