//! The other door: an HTTP client for the SDK that needs no socket.
//!
//! A request is handed to the same code that serves connections, in the caller's own task. A
//! test can then stop tokio's clock, which is unsafe with real sockets: a stopped clock jumps
//! ahead whenever the runtime waits for one.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper::Request;
use hyper::header::{HOST, HeaderValue};

use super::World;
use super::serve::Door;

/// An emulator without a port. Clones are the same emulator.
#[derive(Clone)]
pub struct InProcess {
    world: Arc<World>,
    door: Door,
}

impl InProcess {
    /// Returns an emulator of this world.
    pub fn new(world: World) -> Self {
        let world = Arc::new(world);
        Self { door: Door::new(&world), world }
    }

    /// Returns the world behind the client.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Returns the client for the SDK's configuration; the endpoint URL given beside it is never resolved.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut request: Request<SdkBody> =
            request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        // The host is signed, but it is the connection that would have put it into the headers.
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        if let Some(host) = host {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        let response = self.door.answer(request).await.map_err(ConnectorError::io)?;
        HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }
}

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InProcess").finish_non_exhaustive()
    }
}
