//! Everything put together: what is listened on, what is served there, what runs beside it, and how it ends.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::Router;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{watch, Notify};

use crate::app::{App, Bounds, Calls};
use crate::check::{self, Check};
use crate::decide::Decider;
use crate::health::Health;
use crate::listen::{self, Limits, Listener};
use crate::reload;
use crate::rls::{self, json, Refused, Rls};
use crate::settings::Settings;
use crate::stats::Stats;
use crate::store::Store;
use crate::workers::Workers;

/// Bytes of a request as JSON.
const BODY_BYTES: usize = 256 << 10;
/// How long it may take to send one.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(settings: Settings) -> Result<(), String> {
    let settings = Arc::new(settings);
    let stats = Arc::new(Stats::default());
    let changed = Arc::new(Notify::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = Workers::start(cores)?;
    let store = Store::new(&settings.redis, &changed, &workers)?;
    let decider = Arc::new(Decider::new(
        store,
        settings.local_cache_bytes,
        settings.max_in_flight,
        Arc::clone(&stats),
    ));
    let rls = Arc::new(Rls::new(
        Arc::clone(&settings),
        Arc::clone(&decider),
        Arc::clone(&stats),
    ));
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Arc::new(Health::new(reporter, settings.redis.active_health_check));
    health.publish().await;

    let prefix = settings.key_prefix.clone();
    let check = Arc::new(Check::new(Arc::clone(&decider), Arc::clone(&stats), prefix));
    let mut loaders = Loaders::new(&settings, &rls, &check, &health);
    loaders.look().await;

    let bounds = Bounds::new(
        settings.max_in_flight.saturating_mul(2),
        settings
            .redis
            .timeout
            .saturating_add(PATIENCE.saturating_mul(2)),
        &stats,
    );
    let mut http = Router::new().route("/json", post(json_request).with_state(Arc::clone(&rls)));
    let check = settings.rules_file.is_some().then_some(check);
    if let Some(check) = &check {
        let checks = any(check::http::check).with_state(Arc::clone(check));
        http = http
            .route("/check", checks.clone())
            .route("/check/{*path}", checks);
    }
    // Whether all is well is answered also where there is too much to do.
    let grpc = App {
        router: tonic::service::Routes::new(health_service).into_axum_router(),
        calls: Some(Arc::new(Calls {
            rls: Arc::clone(&rls),
            check,
            bounds: Arc::clone(&bounds),
        })),
    };
    let http = bounds.of(http).route(
        "/healthcheck",
        get(healthcheck).with_state(Arc::clone(&health)),
    );
    let metrics =
        |path: &str| Router::new().route(path, get(prometheus).with_state(Arc::clone(&stats)));
    let debug = metrics("/metrics")
        .route("/stats", get(plain_stats).with_state(Arc::clone(&stats)))
        .route("/rlconfig", get(dump).with_state(Arc::clone(&rls)));

    let grpc_listener = match &settings.grpc_uds {
        Some(path) => Listener::unix(path)?,
        None => Listener::tcp(&settings.grpc).await?,
    };
    let mut listeners = vec![
        (
            "HTTP",
            Listener::tcp(&settings.http).await?,
            settings.http_tls.as_ref(),
            App::from(http),
        ),
        ("gRPC", grpc_listener, settings.grpc_tls.as_ref(), grpc),
        (
            "debug",
            Listener::tcp(&settings.debug).await?,
            None,
            App::from(debug),
        ),
    ];
    if let Some((address, path)) = &settings.prometheus {
        listeners.push((
            "metrics",
            Listener::tcp(address).await?,
            None,
            App::from(metrics(path)),
        ));
    }

    let (stop, stopped) = watch::channel(false);
    let limits = Limits {
        connections: settings.max_connections,
        age: settings.connection_age,
    };
    let mut serving = tokio::task::JoinSet::new();
    let mut ports = Vec::new();
    for (name, listener, tls, app) in listeners {
        let tls = tls.map(listen::acceptor).transpose()?;
        ports.push(format!(
            "{name} {}",
            listener
                .port()
                .map_or_else(|| "on a socket".into(), |port| port.to_string())
        ));
        serving.spawn(listen::serve(
            listener,
            Arc::clone(&workers),
            tls,
            app,
            limits.clone(),
            stopped.clone(),
        ));
    }
    // What waits for this line knows where to ask, also where the ports were the system's choice.
    println!("ratelimit-gateway listens: {}", ports.join(", "));

    let watching = tokio::spawn({
        let (health, decider) = (Arc::clone(&health), Arc::clone(&decider));
        let stats = Arc::clone(&stats);
        async move {
            loop {
                let connected = decider.store().is_connected();
                stats.redis_connected.store(u64::from(connected), Relaxed);
                health.set_redis(connected).await;
                changed.notified().await;
            }
        }
    });
    let loading = tokio::spawn(async move {
        loop {
            tokio::time::sleep(reload::EVERY).await;
            loaders.look().await;
        }
    });
    terminated().await?;
    tracing::warn!("stopping: finishing what has begun");
    health.stop().await;
    let _ = stop.send(true);
    let drained = tokio::time::timeout(settings.drain, async {
        while serving.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        tracing::warn!(
            "some connections were still open after {:?}",
            settings.drain
        );
    }
    watching.abort();
    loading.abort();
    Ok(())
}

async fn terminated() -> Result<(), String> {
    let told = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let mut term = signal(SignalKind::terminate()).map_err(told)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(told)?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// What is read again when it changes.
struct Loaders {
    descriptors: Option<rls::Loader>,
    rules: Option<check::Loader>,
    health: Arc<Health>,
}

impl Loaders {
    fn new(settings: &Settings, rls: &Arc<Rls>, check: &Arc<Check>, health: &Arc<Health>) -> Self {
        let rules = settings.rules_file.clone().map(|path| check::Loader {
            check: Arc::clone(check),
            path,
            shadow: settings.rules_shadow,
            seen: None,
        });
        // Who has rules may do without descriptors; who has neither is told so.
        let wanted = rules.is_none() || settings.config_directory().exists();
        let descriptors = wanted.then(|| rls::Loader::new(Arc::clone(rls)));
        Self {
            descriptors,
            rules,
            health: Arc::clone(health),
        }
    }

    async fn look(&mut self) {
        let mut ready = true;
        if let Some(loader) = &mut self.descriptors {
            ready &= loader.look().await;
        }
        if let Some(loader) = &mut self.rules {
            ready &= loader.look().await;
        }
        self.health.set_config(ready).await;
    }
}

async fn healthcheck(State(health): State<Arc<Health>>) -> Response {
    if health.is_ok() {
        "OK".into_response()
    } else {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn plain_stats(State(stats): State<Arc<Stats>>) -> String {
    stats.plain()
}

async fn dump(State(rls): State<Arc<Rls>>) -> String {
    rls.config().map(|config| config.dump()).unwrap_or_default()
}

async fn prometheus(State(stats): State<Arc<Stats>>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        stats.prometheus(),
    )
        .into_response()
}

async fn json_request(State(rls): State<Arc<Rls>>, body: Body) -> Response {
    let read = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, BODY_BYTES)).await;
    let request = match read {
        Ok(Ok(body)) => json::request(&body),
        Ok(Err(_)) => {
            return (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large\n").into_response()
        }
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "Request Timeout\n").into_response(),
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("Bad Request: {error}\n")).into_response()
        }
    };
    match rls.should_rate_limit(&request).await {
        Ok(response) => {
            let over = response.overall_code == Code::OverLimit as i32;
            let status = if over {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::OK
            };
            let body = json::response(&response).to_string();
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(Refused::Service(error)) => {
            (StatusCode::BAD_REQUEST, format!("Bad Request: {error}\n")).into_response()
        }
        Err(Refused::Unavailable(error)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("Service Unavailable: {error}\n"),
        )
            .into_response(),
    }
}
