//! Requests over gRPC from many at once, and what became of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    rate_limit_descriptor::Entry, RateLimitDescriptor,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code as Answered;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use tonic::transport::Endpoint;
use tonic::Code;

use crate::support::until;

#[derive(Default)]
pub struct Seen {
    pub sent: AtomicU64,
    pub ok: AtomicU64,
    pub over: AtomicU64,
    /// Redis was not there, says the gateway; or the gateway was not.
    pub unavailable: AtomicU64,
    slowest_ms: AtomicU64,
    /// Whatever else.
    pub surprises: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub struct Load {
    pub seen: Arc<Seen>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

fn request(key: &str, value: String) -> RateLimitRequest {
    let entry = Entry {
        key: key.into(),
        value,
    };
    let descriptor = RateLimitDescriptor {
        entries: vec![entry],
        ..RateLimitDescriptor::default()
    };
    RateLimitRequest {
        domain: "d".into(),
        descriptors: vec![descriptor],
        ..RateLimitRequest::default()
    }
}

impl Load {
    /// So many at once, over one connection, of the key `k` with so many values in turn.
    pub fn start(port: u16, at_once: u64, values: u64) -> Self {
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let channel = Endpoint::try_from(format!("http://127.0.0.1:{port}"))
                    .unwrap()
                    .connect_lazy();
                let one = |i: u64| {
                    let (seen, client) = (
                        Arc::clone(&shared),
                        RateLimitServiceClient::new(channel.clone()),
                    );
                    tokio::spawn(ask(client, seen, i, at_once, values))
                };
                let all: Vec<_> = (0..at_once).map(one).collect();
                for one in all {
                    one.await.unwrap();
                }
            });
        });
        Self {
            seen,
            threads: vec![thread],
        }
    }

    /// Waits until so many more have been let through.
    pub fn until_more_pass(&self, what: &str, more: u64) {
        let before = self.seen.ok.load(SeqCst);
        until(what, || self.seen.ok.load(SeqCst) >= before + more);
    }

    pub fn until_more_fail(&self, what: &str, more: u64) {
        let before = self.seen.unavailable.load(SeqCst);
        until(what, || self.seen.unavailable.load(SeqCst) >= before + more);
    }

    /// The longest that any has waited.
    pub fn slowest(&self) -> Duration {
        Duration::from_millis(self.seen.slowest_ms.load(SeqCst))
    }

    /// Starts no more, and waits for those under way.
    pub fn finish(mut self) -> Arc<Seen> {
        self.seen.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        Arc::clone(&self.seen)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.seen.stop.store(true, SeqCst);
    }
}

/// The connection was closed, or about to be, before this one went over it: says the client, not the gateway.
fn was_not_sent(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some_and(|source| source.is::<tonic::transport::Error>())
}

async fn ask(
    mut client: RateLimitServiceClient<tonic::transport::Channel>,
    seen: Arc<Seen>,
    first: u64,
    step: u64,
    values: u64,
) {
    let mut n = first;
    while !seen.stop.load(SeqCst) {
        let began = Instant::now();
        seen.sent.fetch_add(1, SeqCst);
        let answer = client
            .should_rate_limit(request("k", (n % values).to_string()))
            .await;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
        seen.slowest_ms.fetch_max(took, SeqCst);
        n += step;
        match answer.map(|answer| answer.into_inner().overall_code()) {
            Ok(Answered::Ok) => seen.ok.fetch_add(1, SeqCst),
            Ok(Answered::OverLimit) => seen.over.fetch_add(1, SeqCst),
            Err(status) if status.code() == Code::Unavailable || was_not_sent(&status) => {
                // As a proxy does it: not at once again.
                tokio::time::sleep(Duration::from_millis(2)).await;
                seen.unavailable.fetch_add(1, SeqCst)
            }
            other => {
                let mut surprises = seen.surprises.lock().unwrap();
                if surprises.len() < 10 {
                    surprises.push(format!("{other:?}"));
                }
                0
            }
        };
    }
}
