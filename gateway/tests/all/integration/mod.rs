//! envoyproxy/ratelimit's integration tests: the same configurations and requests, the same answers and counters.
//!
//! What differs, and is so on purpose:
//! - `REDIS_PERSECOND` is refused at the start: its runs with a second Redis have no like here;
//! - there is no `ratelimit.localcache.*`, which tells of the cache that it uses: what counts here is `over_limit_with_local_cache`;
//! - `EXTRA_TAGS` are statsd's, as are memcached and xDS not ours.
//!
//! Those with TLS, Sentinel and Cluster are in `tls` and `outage`.

mod cases;

use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    rate_limit_descriptor::Entry, RateLimitDescriptor,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::UInt64Value;
use tonic::transport::Channel;
use Code::{Ok as Pass, OverLimit as Over};
use Unit::{Day, Hour, Minute, Second};

use cases::{cases, ANOTHER, BASIC, RELOAD};

use crate::support::{request, until, Gateway, Redis, Scratch};

/// A descriptor's keys and values.
type Entries = &'static [(&'static str, &'static str)];
/// The same, and the hits that it says itself.
type Descriptor = (Entries, Option<u64>);
type Settings = &'static [(&'static str, &'static str)];
/// A status's code, limit, unit and what remains; without a limit there is none.
type Status = (Code, Option<(u32, Unit)>, u32);

/// One request, and what is answered and has been counted then.
struct Ask {
    domain: &'static str,
    descriptors: Vec<Descriptor>,
    hits_addend: u32,
    code: Code,
    /// Compared where it is given.
    statuses: Vec<Status>,
    headers: Vec<(&'static str, &'static str)>,
    /// Below `ratelimit.service.rate_limit.DOMAIN.`
    counters: Vec<(&'static str, u32)>,
}

fn ask(domain: &'static str, entries: &[Entries], code: Code) -> Ask {
    Ask {
        domain,
        descriptors: entries.iter().map(|entries| (*entries, None)).collect(),
        hits_addend: 1,
        code,
        statuses: Vec::new(),
        headers: Vec::new(),
        counters: Vec::new(),
    }
}

impl Ask {
    fn answered(self, statuses: &[Status]) -> Self {
        Self {
            statuses: statuses.to_vec(),
            ..self
        }
    }

    fn counted(self, counters: &[(&'static str, u32)]) -> Self {
        Self {
            counters: counters.to_vec(),
            ..self
        }
    }

    fn of(self, hits_addend: u32) -> Self {
        Self {
            hits_addend,
            ..self
        }
    }

    /// Each descriptor says its hits itself.
    fn each_of(mut self, hits: u64) -> Self {
        for descriptor in &mut self.descriptors {
            descriptor.1 = Some(hits);
        }
        self
    }
}

struct Case {
    name: &'static str,
    files: &'static [&'static str],
    settings: Settings,
    asks: Vec<Ask>,
}

fn minute() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 60
}

fn length(unit: Unit) -> i64 {
    match unit {
        Second => 1,
        Minute => 60,
        Hour => 3_600,
        _ => 86_400,
    }
}

struct Asker {
    runtime: tokio::runtime::Runtime,
    client: RateLimitServiceClient<Channel>,
}

impl Asker {
    fn new(gateway: &Gateway) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let at = format!("http://127.0.0.1:{}", gateway.grpc);
        let client = runtime
            .block_on(RateLimitServiceClient::connect(at))
            .unwrap();
        Self { runtime, client }
    }

    fn ask(&mut self, ask: &Ask) -> RateLimitResponse {
        let descriptors = ask
            .descriptors
            .iter()
            .map(|(entries, hits)| RateLimitDescriptor {
                entries: entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: (*key).into(),
                        value: (*value).into(),
                    })
                    .collect(),
                hits_addend: hits.map(|value| UInt64Value { value }),
                ..RateLimitDescriptor::default()
            });
        let request = RateLimitRequest {
            domain: ask.domain.into(),
            descriptors: descriptors.collect(),
            hits_addend: ask.hits_addend,
        };
        let answer = self
            .runtime
            .block_on(self.client.should_rate_limit(request));
        answer.unwrap().into_inner()
    }
}

fn counters(gateway: &Gateway) -> String {
    request(gateway.debug, "GET", "/stats", &[], "")
        .unwrap()
        .body
}

/// A configuration of so many files.
fn write(scratch: &Scratch, files: &[&str]) {
    for (i, text) in files.iter().enumerate() {
        scratch.write(&format!("config/{i}.yaml"), text);
    }
}

fn start(redis: &Redis, files: &[&str], settings: &[(&str, &str)]) -> Gateway {
    let scratch = Scratch::new();
    write(&scratch, files);
    let gateway = Gateway::start_in(scratch, redis.port, settings);
    until("the gateway is healthy", || {
        gateway.get("/healthcheck").status == 200
    });
    gateway
}

/// The first difference.
fn run(case: &Case) -> Result<(), String> {
    let redis = Redis::start();
    let gateway = start(&redis, case.files, case.settings);
    let mut asker = Asker::new(&gateway);
    for (i, ask) in case.asks.iter().enumerate() {
        let answer = asker.ask(ask);
        let differs = |what: &str, seen: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            Err(format!(
                "{}: request {}: {what} {seen:?}, expected {expected:?}",
                case.name,
                i + 1
            ))
        };
        if answer.overall_code() != ask.code {
            return differs("overall code", &answer.overall_code(), &ask.code);
        }
        let statuses: Vec<Status> = answer
            .statuses
            .iter()
            .map(|status| {
                let limit = status.current_limit.as_ref();
                let limit = limit.map(|limit| (limit.requests_per_unit, limit.unit()));
                (status.code(), limit, status.limit_remaining)
            })
            .collect();
        if !ask.statuses.is_empty() && statuses != ask.statuses {
            return differs("statuses", &statuses, &ask.statuses);
        }
        for status in &answer.statuses {
            let Some(limit) = &status.current_limit else {
                continue;
            };
            let left = status.duration_until_reset.map_or(0, |left| left.seconds);
            let within = 1..=length(limit.unit());
            if !within.contains(&left) {
                return differs("seconds until the reset", &left, &within);
            }
        }
        for (name, expected) in &ask.headers {
            let header = answer
                .response_headers_to_add
                .iter()
                .find(|header| header.key == *name);
            if header.map(|header| header.value.as_str()) != Some(expected) {
                return differs(name, &answer.response_headers_to_add, expected);
            }
        }
        let counters = counters(&gateway);
        for (name, expected) in &ask.counters {
            let name = format!("ratelimit.service.rate_limit.{}.{name}: ", ask.domain);
            let seen = counters
                .lines()
                .find_map(|line| line.strip_prefix(&name)?.parse().ok());
            if seen != Some(*expected) {
                return differs(&name, &seen, expected);
            }
        }
    }
    if case
        .settings
        .iter()
        .any(|(name, _)| *name == "CACHE_KEY_PREFIX")
    {
        let keys: Vec<String> = redis.ask(&["KEYS", "*"]);
        if keys.is_empty() || !keys.iter().all(|key| key.starts_with("prefix:")) {
            return Err(format!("{}: {keys:?}", case.name));
        }
    }
    Ok(())
}

#[test]
fn the_same_answers() {
    let mut differences = Vec::new();
    for case in cases() {
        // A minute that ends on the way begins its windows anew: such a run says nothing.
        let result = loop {
            let began = minute();
            let result = run(&case);
            if result.is_ok() || began == minute() {
                break result;
            }
        };
        differences.extend(result.err());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_time_until_the_reset_falls() {
    let redis = Redis::start();
    let gateway = start(&redis, &[ANOTHER], &[]);
    let mut asker = Asker::new(&gateway);
    let mut left = || {
        let answer = asker.ask(&ask("another", &[&[("key4", "durTest")]], Pass));
        assert_eq!(
            answer.statuses[0].current_limit.as_ref().unwrap().unit(),
            Day
        );
        answer.statuses[0].duration_until_reset.unwrap().seconds
    };
    let seconds = || redis.ask::<(u64, u64)>(&["TIME"]).0;
    loop {
        let (day, began) = (minute() / 1_440, seconds());
        let before = left();
        until("two seconds are over", || seconds() >= began + 2);
        let after = left();
        if minute() / 1_440 == day {
            assert!(after < before, "{after}, and {before} before");
            return;
        }
    }
}

#[test]
fn a_file_that_comes_and_goes_is_a_new_configuration() {
    let redis = Redis::start();
    let gateway = start(&redis, &[BASIC], &[]);
    let mut asker = Asker::new(&gateway);
    let loaded = || {
        gateway
            .metric("ratelimit_service_config_load_success")
            .unwrap()
    };
    let unknown = ask("reload", &[&[("block", "foo")]], Pass);
    assert!(asker.ask(&unknown).statuses[0].current_limit.is_none());
    let before = loaded();
    gateway.scratch.write("config/reload.yaml", RELOAD);
    until("the new file is seen", || loaded() > before);
    let status = &asker
        .ask(&ask("reload", &[&[("key1", "foo")]], Pass))
        .statuses[0];
    let limit = status.current_limit.as_ref().unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit()), (50, Second));
    assert_eq!((status.code(), status.limit_remaining), (Pass, 49));
    assert_eq!(asker.ask(&unknown).overall_code(), Over);
    let before = loaded();
    std::fs::remove_file(gateway.scratch.0.join("config/reload.yaml")).unwrap();
    until("its end is seen", || loaded() > before);
    assert!(asker.ask(&unknown).statuses[0].current_limit.is_none());
}
