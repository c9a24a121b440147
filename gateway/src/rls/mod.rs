//! The rate limit service, as Envoy's version 3 of it: descriptors become clauses, clauses become calls, answers become
//! statuses.

pub mod json;
mod loader;
mod plan;
mod reply;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

pub use loader::Loader;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use envoy_types::pb::envoy::service::ratelimit::v3 as pb;
use pb::rate_limit_service_server::RateLimitService;
use tonic::{Request, Response, Status};

use crate::config::{Config, Unit};
use crate::decide::Decider;
use crate::settings::{OnFailure, Settings};
use crate::stats::Stats;

/// Descriptors of one request.
const DESCRIPTORS: usize = 256;

/// Why there is no answer.
#[derive(Debug)]
pub enum Refused {
    /// The request is at fault, or there is no configuration.
    Service(String),
    /// Redis could not be asked in time.
    Unavailable(String),
}

pub struct Rls {
    pub settings: Arc<Settings>,
    pub decider: Arc<Decider>,
    pub stats: Arc<Stats>,
    pub config: RwLock<Option<Arc<Config>>>,
}

impl Rls {
    pub fn new(settings: Arc<Settings>, decider: Arc<Decider>, stats: Arc<Stats>) -> Self {
        Self {
            settings,
            decider,
            stats,
            config: RwLock::new(None),
        }
    }

    pub fn config(&self) -> Option<Arc<Config>> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(config));
    }

    pub async fn should_rate_limit(
        &self,
        request: &pb::RateLimitRequest,
    ) -> Result<pb::RateLimitResponse, Refused> {
        let began = Instant::now();
        let result = self.answer(request).await;
        self.stats.should_rate_limit.record(began.elapsed());
        if let Err(Refused::Service(_)) = &result {
            self.stats.service_error.add(1);
        }
        result
    }

    async fn answer(
        &self,
        request: &pb::RateLimitRequest,
    ) -> Result<pb::RateLimitResponse, Refused> {
        let refused = |text: &str| Err(Refused::Service(text.to_owned()));
        if request.domain.is_empty() {
            return refused("rate limit domain must not be empty");
        }
        if request.descriptors.is_empty() {
            return refused("rate limit descriptor list must not be empty");
        }
        if request.descriptors.len() > DESCRIPTORS {
            return refused(&format!("a request has at most {DESCRIPTORS} descriptors"));
        }
        let unknown = |limit: &RateLimitOverride| Unit::numbered(limit.unit).is_none();
        if request
            .descriptors
            .iter()
            .any(|descriptor| descriptor.limit.as_ref().is_some_and(unknown))
        {
            return refused("a limit override must have a unit");
        }
        let Some(config) = self.config() else {
            return refused("no rate limit configuration loaded");
        };
        let mut plan = plan::Plan::of(
            request,
            &config,
            &self.settings,
            &self.stats,
            self.decider.store().is_cluster,
        );
        match self.decider.decide(&plan.calls).await {
            Ok(answers) => {
                plan.take(&answers);
                Ok(reply::reply(request, &plan, &self.settings, &self.stats))
            }
            Err(failure) => match self.settings.on_failure {
                OnFailure::Error => Err(Refused::Unavailable(failure.0)),
                OnFailure::Open => {
                    self.stats.failed_open.add(1);
                    Ok(reply::unasked(request, pb::rate_limit_response::Code::Ok))
                }
                OnFailure::Closed => {
                    self.stats.failed_closed.add(1);
                    Ok(reply::unasked(
                        request,
                        pb::rate_limit_response::Code::OverLimit,
                    ))
                }
            },
        }
    }
}

/// The service over gRPC.
pub struct Grpc(pub Arc<Rls>);

#[tonic::async_trait]
impl RateLimitService for Grpc {
    async fn should_rate_limit(
        &self,
        request: Request<pb::RateLimitRequest>,
    ) -> Result<Response<pb::RateLimitResponse>, Status> {
        match self.0.should_rate_limit(request.get_ref()).await {
            Ok(response) => Ok(Response::new(response)),
            Err(Refused::Service(text)) => Err(Status::unknown(text)),
            Err(Refused::Unavailable(text)) => Err(Status::unavailable(text)),
        }
    }
}
