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
use tonic::Status;

use crate::config::{Config, Unit};
use crate::decide::Decider;
use crate::grpc::Sent;
use crate::seldom::Seldom;
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
    refusals: Seldom,
}

impl Rls {
    pub fn new(settings: Arc<Settings>, decider: Arc<Decider>, stats: Arc<Stats>) -> Self {
        Self {
            settings,
            decider,
            stats,
            config: RwLock::new(None),
            refusals: Seldom::default(),
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

    /// The service over gRPC.
    pub async fn call(
        &self,
        sent: Sent<pb::RateLimitRequest>,
    ) -> Result<pb::RateLimitResponse, Status> {
        let request = match sent {
            Sent::Message(request) => request,
            // Whoever sends long headers is not let pass for that.
            Sent::TooLarge => {
                self.stats.service_error.add(1);
                self.refusals.warn("a request over gRPC was too large");
                return Ok(pb::RateLimitResponse {
                    overall_code: pb::rate_limit_response::Code::OverLimit as i32,
                    ..pb::RateLimitResponse::default()
                });
            }
        };
        self.should_rate_limit(&request)
            .await
            .map_err(|refused| match refused {
                Refused::Service(text) => Status::unknown(text),
                Refused::Unavailable(text) => Status::unavailable(text),
            })
    }
}
