//! What a listener serves: a proxy's calls over gRPC, straight to who answers them, and by the router what is left. There are
//! only so many at once, and one takes only so long: who sends one slowly holds no memory for ever.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{Request as HttpRequest, Response as HttpResponse, StatusCode};
use axum::middleware::{from_fn_with_state, Next};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use http_body_util::Either;
use tokio::sync::Semaphore;
use tonic::codegen::Service;
use tonic::Status;

use crate::check::http::Peer;
use crate::check::Check;
use crate::grpc::{unary, Unary};
use crate::rls::Rls;
use crate::stats::Stats;

/// How many requests there are at once, and how long one may take.
pub struct Bounds {
    places: Semaphore,
    longest: Duration,
    stats: Arc<Stats>,
}

impl Bounds {
    pub fn new(places: usize, longest: Duration, stats: &Arc<Stats>) -> Arc<Self> {
        Arc::new(Self {
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            longest,
            stats: Arc::clone(stats),
        })
    }

    pub fn of(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(self), bounded))
    }
}

async fn bounded(State(bounds): State<Arc<Bounds>>, request: Request, next: Next) -> Response {
    let Ok(_place) = bounds.places.try_acquire() else {
        bounds.stats.unavailable.add(1);
        return (StatusCode::SERVICE_UNAVAILABLE, "too many requests\n").into_response();
    };
    match tokio::time::timeout(bounds.longest, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "Request Timeout\n").into_response(),
    }
}

/// What proxies call.
pub struct Calls {
    pub rls: Arc<Rls>,
    /// Where there are rules.
    pub check: Option<Arc<Check>>,
    pub bounds: Arc<Bounds>,
}

enum Method {
    ShouldRateLimit,
    Check(Arc<Check>),
}

impl Calls {
    fn method(&self, path: &str) -> Option<Method> {
        match path {
            "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit" => {
                Some(Method::ShouldRateLimit)
            }
            "/envoy.service.auth.v3.Authorization/Check" => self.check.clone().map(Method::Check),
            _ => None,
        }
    }

    async fn answer<B>(&self, method: Method, body: B) -> HttpResponse<Unary>
    where
        B: HttpBody<Data = Bytes>,
    {
        let Ok(_place) = self.bounds.places.try_acquire() else {
            self.bounds.stats.unavailable.add(1);
            return Status::unavailable("too many requests").into_http();
        };
        let longest = self.bounds.longest;
        match method {
            Method::ShouldRateLimit => unary(body, longest, |sent| self.rls.call(sent)).await,
            Method::Check(check) => unary(body, longest, |sent| check.call(sent)).await,
        }
    }
}

#[derive(Clone)]
pub struct App {
    pub calls: Option<Arc<Calls>>,
    pub router: Router,
}

impl App {
    /// As it serves the connection of this peer.
    pub fn of(mut self, peer: Option<SocketAddr>) -> Self {
        self.router = self.router.layer(axum::Extension(Peer(peer)));
        self
    }
}

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self {
            calls: None,
            router,
        }
    }
}

impl<B> Service<HttpRequest<B>> for App
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = HttpResponse<Either<Unary, Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let path = request.uri().path();
        let called = self.calls.as_ref().and_then(|calls| {
            let method = calls.method(path)?;
            Some((Arc::clone(calls), method))
        });
        match called {
            Some((calls, method)) => Box::pin(async move {
                let response = calls.answer(method, request.into_body()).await;
                Ok(response.map(Either::Left))
            }),
            None => {
                let answered = self.router.call(request);
                Box::pin(async move { answered.await.map(|response| response.map(Either::Right)) })
            }
        }
    }
}
