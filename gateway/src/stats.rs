//! Counters, under envoyproxy/ratelimit's names.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Limits that are counted under names of their own; what callers can make up beyond that shares one.
const NAMES: usize = 10_000;
/// Upper ends of the histogram of answer times, in microseconds.
const BUCKETS: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
];

const LOCAL: &str = "over_limit_with_local_cache";

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one limit has seen.
#[derive(Debug, Default)]
pub struct Limit {
    pub total_hits: Counter,
    pub over_limit: Counter,
    pub near_limit: Counter,
    pub over_limit_with_local_cache: Counter,
    pub within_limit: Counter,
    pub shadow_mode: Counter,
}

impl Limit {
    fn rows(&self) -> [(&'static str, &Counter); 6] {
        [
            ("total_hits", &self.total_hits),
            ("over_limit", &self.over_limit),
            ("near_limit", &self.near_limit),
            (LOCAL, &self.over_limit_with_local_cache),
            ("within_limit", &self.within_limit),
            ("shadow_mode", &self.shadow_mode),
        ]
    }
}

/// How long answers took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; 12],
    count: Counter,
    sum_us: Counter,
}

impl Histogram {
    pub fn record(&self, took: std::time::Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (bucket, end) in self.buckets.iter().zip(BUCKETS) {
            if us <= end {
                bucket.add(1);
            }
        }
        self.count.add(1);
        self.sum_us.add(us);
    }
}

#[derive(Debug, Default)]
pub struct Stats {
    limits: RwLock<HashMap<Vec<String>, Arc<Limit>>>,
    domains: RwLock<HashMap<String, Arc<Counter>>>,
    rules: RwLock<HashMap<(String, &'static str), Arc<Counter>>>,
    pub redis_error: Counter,
    pub service_error: Counter,
    pub config_load_success: Counter,
    pub config_load_error: Counter,
    pub global_shadow_mode: Counter,
    pub unavailable: Counter,
    pub check_refused: Counter,
    pub failed_open: Counter,
    pub failed_closed: Counter,
    /// 1 while the files as they are now cannot be loaded.
    pub config_errors_now: AtomicU64,
    pub rules_errors_now: AtomicU64,
    /// 1 while there is a connection to Redis.
    pub redis_connected: AtomicU64,
    pub should_rate_limit: Histogram,
    pub check: Histogram,
}

impl Stats {
    pub fn limit(&self, name: &[String]) -> Arc<Limit> {
        bounded(&self.limits, name, || vec!["other".to_owned()])
    }

    pub fn domain_not_found(&self, domain: &str) -> Arc<Counter> {
        bounded(&self.domains, domain, || "other".to_owned())
    }

    /// What a rule of rules.yaml did.
    pub fn rule(&self, name: &str, what: &'static str) -> Arc<Counter> {
        bounded(&self.rules, &(name.to_owned(), what), || {
            ("other".to_owned(), what)
        })
    }

    /// One `name: value` a line, sorted, as envoyproxy/ratelimit names them.
    pub fn plain(&self) -> String {
        let mut rows = Vec::new();
        for (name, limit) in self
            .limits
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let name = sanitize(&name.join("."));
            for (what, counter) in limit.rows() {
                rows.push(format!(
                    "ratelimit.service.rate_limit.{name}.{what}: {}\n",
                    counter.get()
                ));
            }
        }
        for (domain, counter) in self
            .domains
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            rows.push(format!(
                "ratelimit.service.rate_limit.{}.domain_not_found: {}\n",
                sanitize(domain),
                counter.get()
            ));
        }
        for (name, counter) in [
            ("call.should_rate_limit.redis_error", &self.redis_error),
            ("call.should_rate_limit.service_error", &self.service_error),
            ("config_load_success", &self.config_load_success),
            ("config_load_error", &self.config_load_error),
            ("global_shadow_mode", &self.global_shadow_mode),
        ] {
            rows.push(format!("ratelimit.service.{name}: {}\n", counter.get()));
        }
        rows.sort();
        rows.concat()
    }

    /// The text format of Prometheus.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = limits.iter().collect();
        names.sort_by(|a, b| a.0.cmp(b.0));
        for what in 0..6 {
            let mut is_first = true;
            for (name, limit) in &names {
                let Some((metric, counter)) = limit.rows().into_iter().nth(what) else {
                    continue;
                };
                // Where nothing is kept here, it would be a second row for whoever looks for over_limit.
                if metric == LOCAL && counter.get() == 0 {
                    continue;
                }
                if std::mem::take(&mut is_first) {
                    let _ = writeln!(out, "# TYPE ratelimit_service_rate_limit_{metric} counter");
                }
                let mut labels = String::new();
                for (i, part) in name.iter().enumerate() {
                    let label = if i == 0 {
                        "domain".to_owned()
                    } else {
                        format!("key{i}")
                    };
                    let _ = write!(
                        labels,
                        "{}{label}=\"{}\"",
                        if i == 0 { "" } else { "," },
                        escape(part)
                    );
                }
                let _ = writeln!(
                    out,
                    "ratelimit_service_rate_limit_{metric}{{{labels}}} {}",
                    counter.get()
                );
            }
        }
        drop(limits);
        let _ = writeln!(
            out,
            "# TYPE ratelimit_service_rate_limit_domain_not_found counter"
        );
        for (domain, counter) in sorted(&self.domains) {
            let _ = writeln!(
                out,
                "ratelimit_service_rate_limit_domain_not_found{{domain=\"{}\"}} {}",
                escape(&domain),
                counter.get()
            );
        }
        let _ = writeln!(out, "# TYPE ratelimit_gateway_rule_requests counter");
        for ((rule, what), counter) in sorted(&self.rules) {
            let _ = writeln!(
                out,
                "ratelimit_gateway_rule_requests{{rule=\"{}\",result=\"{what}\"}} {}",
                escape(&rule),
                counter.get()
            );
        }
        let _ = writeln!(
            out,
            "# TYPE ratelimit_service_should_rate_limit_error counter"
        );
        for (kind, counter) in [
            ("redis_error", &self.redis_error),
            ("service_error", &self.service_error),
        ] {
            let _ = writeln!(
                out,
                "ratelimit_service_should_rate_limit_error{{err_type=\"{kind}\"}} {}",
                counter.get()
            );
        }
        for (name, counter) in [
            (
                "ratelimit_service_config_load_success",
                &self.config_load_success,
            ),
            (
                "ratelimit_service_config_load_error",
                &self.config_load_error,
            ),
            (
                "ratelimit_service_global_shadow_mode",
                &self.global_shadow_mode,
            ),
            ("ratelimit_gateway_unavailable", &self.unavailable),
            ("ratelimit_gateway_check_refused", &self.check_refused),
            ("ratelimit_gateway_failed_open", &self.failed_open),
            ("ratelimit_gateway_failed_closed", &self.failed_closed),
        ] {
            let _ = writeln!(out, "# TYPE {name} counter\n{name} {}", counter.get());
        }
        let _ = writeln!(
            out,
            "# TYPE ratelimit_gateway_info gauge\nratelimit_gateway_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        );
        for (name, gauge) in [
            ("config_errors", &self.config_errors_now),
            ("rules_errors", &self.rules_errors_now),
            ("redis_connected", &self.redis_connected),
        ] {
            let name = format!("ratelimit_gateway_{name}");
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {}", gauge.load(Relaxed));
        }
        let _ = writeln!(
            out,
            "# TYPE ratelimit_service_response_time_seconds histogram"
        );
        for (method, histogram) in [
            ("ShouldRateLimit", &self.should_rate_limit),
            ("Check", &self.check),
        ] {
            let name = "ratelimit_service_response_time_seconds";
            for (bucket, end) in histogram.buckets.iter().zip(BUCKETS) {
                let seconds = std::time::Duration::from_micros(end).as_secs_f64();
                let _ = writeln!(
                    out,
                    "{name}_bucket{{grpc_method=\"{method}\",le=\"{seconds}\"}} {}",
                    bucket.get()
                );
            }
            let sum = std::time::Duration::from_micros(histogram.sum_us.get()).as_secs_f64();
            let count = histogram.count.get();
            let _ = writeln!(
                out,
                "{name}_bucket{{grpc_method=\"{method}\",le=\"+Inf\"}} {count}"
            );
            let _ = writeln!(out, "{name}_sum{{grpc_method=\"{method}\"}} {sum}");
            let _ = writeln!(out, "{name}_count{{grpc_method=\"{method}\"}} {count}");
        }
        out
    }
}

fn sorted<K: Clone + Ord, V>(map: &RwLock<HashMap<K, Arc<V>>>) -> Vec<(K, Arc<V>)> {
    let map = map.read().unwrap_or_else(PoisonError::into_inner);
    let mut rows: Vec<_> = map
        .iter()
        .map(|(k, v)| (k.clone(), Arc::clone(v)))
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn bounded<K, Q, V>(map: &RwLock<HashMap<K, Arc<V>>>, key: &Q, other: impl FnOnce() -> K) -> Arc<V>
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Default,
{
    if let Some(found) = map.read().unwrap_or_else(PoisonError::into_inner).get(key) {
        return Arc::clone(found);
    }
    let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
    let key = if map.len() < NAMES {
        key.to_owned()
    } else {
        other()
    };
    Arc::clone(map.entry(key).or_default())
}

/// Dots divide a name's parts, so an address's become underscores; `:` and `|` are statsd's own.
fn sanitize(name: &str) -> String {
    use std::sync::OnceLock;
    static ADDRESS: OnceLock<Option<regex::Regex>> = OnceLock::new();
    let name = name.replace([':', '|'], "_");
    match ADDRESS.get_or_init(|| regex::Regex::new(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}").ok()) {
        Some(address) => address
            .replace_all(&name, |found: &regex::Captures<'_>| {
                found[0].replace('.', "_")
            })
            .into_owned(),
        None => name,
    }
}

fn escape(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_callers_make_up_are_bounded() {
        let stats = Stats::default();
        for i in 0..NAMES + 50 {
            stats
                .limit(&["d".to_owned(), format!("k_{i}")])
                .total_hits
                .add(1);
        }
        assert_eq!(stats.limit(&["other".to_owned()]).total_hits.get(), 50);
        assert!(stats.limits.read().unwrap().len() <= NAMES + 1);
    }

    #[test]
    fn an_address_is_one_part_of_a_name() {
        assert_eq!(sanitize("d.remote_10.0.0.1.x:y"), "d.remote_10_0_0_1.x_y");
    }
}
