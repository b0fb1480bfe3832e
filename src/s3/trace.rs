//! Every request in the log, for those who want to know what an operation costs (`--log-level trace`).
//!
//! A line has the method, the address, what came back and how long that took, to the beginning of the answer. Tokens,
//! signatures and keys of encryption travel in headers, none of which is shown.

use std::time::Instant;

use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Writes each attempt down.
#[derive(Debug)]
pub(super) struct Tracing;

/// An attempt that was sent.
#[derive(Debug)]
struct Sent {
    request: String,
    at: Instant,
}

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Tracing {
    fn name(&self) -> &'static str {
        "trace requests"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if tracing::enabled!(tracing::Level::TRACE) {
            let request = context.request();
            let request = format!("{} {}", request.method(), request.uri());
            bag.interceptor_state().store_put(Sent { request, at: Instant::now() });
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Sent { request, at }) = bag.load::<Sent>() {
            let status = context.response().map(|answer| answer.status().as_u16().to_string());
            let answer = status.as_deref().unwrap_or("none");
            let milliseconds = at.elapsed().as_millis();
            tracing::trace!(request, %answer, milliseconds, "asked S3");
        }
        Ok(())
    }
}
