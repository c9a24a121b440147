//! Whether to send requests here: Redis was reached, a configuration is loaded, nobody has asked to stop.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tonic_health::server::HealthReporter;
use tonic_health::ServingStatus;

/// What the service is called in gRPC's health protocol; the empty name is the server as a whole.
const NAMES: [&str; 2] = ["ratelimit", ""];

pub struct Health {
    redis: AtomicBool,
    config: AtomicBool,
    running: AtomicBool,
    /// Whether Redis counts only once, at the start.
    once: bool,
    grpc: HealthReporter,
}

impl Health {
    pub fn new(grpc: HealthReporter, active_redis_check: bool) -> Self {
        Self {
            redis: AtomicBool::new(false),
            config: AtomicBool::new(false),
            running: AtomicBool::new(true),
            once: !active_redis_check,
            grpc,
        }
    }

    pub fn is_ok(&self) -> bool {
        self.redis.load(SeqCst) && self.config.load(SeqCst) && self.running.load(SeqCst)
    }

    pub async fn set_redis(&self, connected: bool) {
        if connected || !self.once {
            self.redis.store(connected, SeqCst);
            self.publish().await;
        }
    }

    pub async fn set_config(&self, loaded: bool) {
        self.config.store(loaded, SeqCst);
        self.publish().await;
    }

    pub async fn stop(&self) {
        self.running.store(false, SeqCst);
        self.publish().await;
    }

    pub async fn publish(&self) {
        let status = if self.is_ok() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in NAMES {
            self.grpc.set_service_status(name, status).await;
        }
    }
}
