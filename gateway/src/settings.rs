//! What the environment says, under envoyproxy/ratelimit's names and a few of ours. Read once, at the start.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What is answered where Redis cannot be asked in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The caller is told so, and decides: Envoy's `failure_mode_deny`, the proxy's configuration.
    Error,
    Open,
    Closed,
}

impl FromStr for OnFailure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "error" => Ok(Self::Error),
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("expected error, open or closed".into()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisType {
    Single,
    Sentinel,
    Cluster,
}

impl FromStr for RedisType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "SINGLE" => Ok(Self::Single),
            "SENTINEL" => Ok(Self::Sentinel),
            "CLUSTER" => Ok(Self::Cluster),
            _ => Err("expected SINGLE, SENTINEL or CLUSTER".into()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Redis {
    pub kind: RedisType,
    pub socket: String,
    pub url: String,
    pub auth: Option<String>,
    pub sentinel_auth: Option<String>,
    pub tls: bool,
    pub tls_ca: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_any_name: bool,
    pub connections: usize,
    pub timeout: Duration,
    pub active_health_check: bool,
}

#[derive(Clone, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Headers {
    pub limit: String,
    pub remaining: String,
    pub reset: String,
}

/// Bytes that a local cache has at least, as envoyproxy/ratelimit's does: its users write 1000, and mean that there is one.
const LOCAL_CACHE_LEAST: usize = 512 << 10;

#[derive(Clone, Debug)]
pub struct Settings {
    pub http: String,
    pub grpc: String,
    pub grpc_uds: Option<PathBuf>,
    pub debug: String,
    pub prometheus: Option<(String, String)>,
    pub http_tls: Option<Tls>,
    pub grpc_tls: Option<Tls>,
    pub connection_age: Duration,
    pub log_level: String,
    pub log_json: bool,
    pub runtime_root: PathBuf,
    pub runtime_subdirectory: String,
    pub runtime_app_directory: String,
    pub ignore_dot_files: bool,
    pub force_start: bool,
    pub needs_config: bool,
    pub merge_domains: bool,
    pub local_cache_bytes: usize,
    pub near_limit_ratio: f32,
    pub key_prefix: String,
    pub all_or_nothing: bool,
    pub headers: Option<Headers>,
    pub shadow_mode: bool,
    pub quota_mode: bool,
    pub dynamic_metadata: bool,
    pub redis: Redis,
    pub on_failure: OnFailure,
    pub max_in_flight: usize,
    pub max_connections: usize,
    pub drain: Duration,
    pub rules_file: Option<PathBuf>,
    pub rules_shadow: bool,
}

/// Names that would change what is limited, and that are not built: refused rather than ignored.
const REFUSED: [(&str, &[&str], &str); 5] = [
    (
        "BACKEND_TYPE",
        &["", "redis"],
        "the limits are kept in Redis alone",
    ),
    (
        "CONFIG_TYPE",
        &["", "FILE"],
        "the configuration is read from files alone",
    ),
    (
        "REDIS_PERSECOND",
        &["", "false", "0", "f", "F", "False", "FALSE"],
        "one Redis serves all units",
    ),
    (
        "GRPC_CLIENT_TLS_SAN",
        &[""],
        "a client certificate's name is not checked: use a CA of its own (GRPC_CLIENT_TLS_CACERT)",
    ),
    (
        "REDIS_POOL_ON_EMPTY_BEHAVIOR",
        &["", "WAIT", "ERROR"],
        "a request never makes a connection",
    ),
];

type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    pub fn read(env: Read<'_>) -> Result<Self, String> {
        for (name, known, why) in REFUSED {
            let value = env(name).unwrap_or_default();
            if !known.contains(&value.as_str()) {
                return Err(format!("{name}={value} is not supported: {why}"));
            }
        }
        let text = |name: &str, default: &str| env(name).unwrap_or_else(|| default.to_owned());
        let maybe = |name: &str| env(name).filter(|value| !value.is_empty());
        let path = |name: &str| maybe(name).map(PathBuf::from);
        let address = |host: &str, default_host: &str, port: &str, default_port: u16| {
            Ok::<_, String>(format!(
                "{}:{}",
                text(host, default_host),
                parse(env, port, default_port)?
            ))
        };
        let tls = |on: bool, cert: &str, key: &str, ca: &str| match (on, path(cert), path(key)) {
            (false, ..) => Ok(None),
            (true, Some(cert), Some(key)) => Ok(Some(Tls {
                cert,
                key,
                client_ca: path(ca),
            })),
            _ => Err(format!(
                "{cert} and {key} must name the certificate and its key"
            )),
        };
        let http_tls = maybe("SERVER_TLS_CERT").is_some();
        let redis = Redis {
            kind: parse(env, "REDIS_TYPE", RedisType::Single)?,
            socket: text("REDIS_SOCKET_TYPE", "unix"),
            url: text("REDIS_URL", "/var/run/nutcracker/ratelimit.sock"),
            auth: secret(env, "REDIS_AUTH")?,
            sentinel_auth: secret(env, "REDIS_SENTINEL_AUTH")?,
            tls: boolean(env, "REDIS_TLS", false)?,
            tls_ca: path("REDIS_TLS_CACERT"),
            tls_cert: path("REDIS_TLS_CLIENT_CERT"),
            tls_key: path("REDIS_TLS_CLIENT_KEY"),
            tls_any_name: boolean(env, "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", false)?,
            connections: parse(env, "REDIS_POOL_SIZE", 2usize)?.clamp(1, 64),
            timeout: duration(env, "REDIS_TIMEOUT", Duration::from_millis(250))?,
            active_health_check: boolean(env, "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION", false)?,
        };
        let headers = boolean(env, "LIMIT_RESPONSE_HEADERS_ENABLED", false)?.then(|| Headers {
            limit: text("LIMIT_LIMIT_HEADER", "RateLimit-Limit"),
            remaining: text("LIMIT_REMAINING_HEADER", "RateLimit-Remaining"),
            reset: text("LIMIT_RESET_HEADER", "RateLimit-Reset"),
        });
        let prometheus = boolean(env, "USE_PROMETHEUS", false)?.then(|| {
            let address = text("PROMETHEUS_ADDR", ":9090");
            let address = if address.starts_with(':') {
                format!("0.0.0.0{address}")
            } else {
                address
            };
            (address, text("PROMETHEUS_PATH", "/metrics"))
        });
        Ok(Self {
            http: address("HOST", "0.0.0.0", "PORT", 8080)?,
            grpc: address("GRPC_HOST", "0.0.0.0", "GRPC_PORT", 8081)?,
            grpc_uds: path("GRPC_UDS"),
            debug: address("DEBUG_HOST", "0.0.0.0", "DEBUG_PORT", 6070)?,
            prometheus,
            http_tls: tls(
                http_tls,
                "SERVER_TLS_CERT",
                "SERVER_TLS_KEY",
                "CLIENT_TLS_CACERT",
            )?,
            grpc_tls: tls(
                boolean(env, "GRPC_SERVER_USE_TLS", false)?,
                "GRPC_SERVER_TLS_CERT",
                "GRPC_SERVER_TLS_KEY",
                "GRPC_CLIENT_TLS_CACERT",
            )?,
            connection_age: duration(env, "GRPC_MAX_CONNECTION_AGE", Duration::from_secs(86_400))?,
            log_level: text("LOG_LEVEL", "WARN"),
            log_json: text("LOG_FORMAT", "text").eq_ignore_ascii_case("json"),
            runtime_root: PathBuf::from(text("RUNTIME_ROOT", "/srv/runtime_data/current")),
            runtime_subdirectory: text("RUNTIME_SUBDIRECTORY", ""),
            runtime_app_directory: text("RUNTIME_APPDIRECTORY", "config"),
            ignore_dot_files: boolean(env, "RUNTIME_IGNOREDOTFILES", false)?,
            force_start: boolean(env, "FORCE_START_WITHOUT_INITIAL_CONFIG", false)?,
            needs_config: boolean(env, "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED", false)?,
            merge_domains: boolean(env, "MERGE_DOMAIN_CONFIG", false)?,
            local_cache_bytes: match parse(env, "LOCAL_CACHE_SIZE_IN_BYTES", 0)? {
                0 => 0,
                bytes => bytes.max(LOCAL_CACHE_LEAST),
            },
            near_limit_ratio: parse(env, "NEAR_LIMIT_RATIO", 0.8)?,
            key_prefix: text("CACHE_KEY_PREFIX", ""),
            all_or_nothing: boolean(env, "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", false)?,
            headers,
            shadow_mode: boolean(env, "SHADOW_MODE", false)?,
            quota_mode: boolean(env, "QUOTA_MODE", false)?,
            dynamic_metadata: boolean(env, "RESPONSE_DYNAMIC_METADATA", false)?,
            redis,
            on_failure: parse(env, "FAILURE_MODE", OnFailure::Error)?,
            max_in_flight: parse(env, "MAX_IN_FLIGHT", 1024usize)?.max(1),
            max_connections: parse(env, "MAX_CONNECTIONS", 4096usize)?.max(1),
            drain: duration(env, "DRAIN_TIMEOUT", Duration::from_secs(25))?,
            rules_file: path("RULES_FILE"),
            rules_shadow: boolean(env, "RULES_SHADOW", false)?,
        })
    }

    /// The directory whose files are the configuration.
    pub fn config_directory(&self) -> PathBuf {
        let mut path = self.runtime_root.clone();
        if !self.runtime_subdirectory.is_empty() {
            path.push(&self.runtime_subdirectory);
        }
        path.push(&self.runtime_app_directory);
        path
    }
}

fn parse<T: FromStr>(env: Read<'_>, name: &str, default: T) -> Result<T, String>
where
    T::Err: Display,
{
    match env(name).filter(|value| !value.is_empty()) {
        None => Ok(default),
        Some(value) => value
            .trim()
            .parse()
            .map_err(|error| format!("{name}={value}: {error}")),
    }
}

fn boolean(env: Read<'_>, name: &str, default: bool) -> Result<bool, String> {
    match env(name).unwrap_or_default().as_str() {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        value => Err(format!("{name}={value}: expected true or false")),
    }
}

/// From the variable, or from the file that NAME_FILE names. Errors never show it.
fn secret(env: Read<'_>, name: &str) -> Result<Option<String>, String> {
    let file = format!("{name}_FILE");
    let value = match env(&file).filter(|path| !path.is_empty()) {
        None => env(name),
        Some(path) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("{file}={path}: {error}"))?;
            Some(text.trim_end_matches(['\n', '\r']).to_owned())
        }
    };
    Ok(value.filter(|value| !value.is_empty()))
}

fn duration(env: Read<'_>, name: &str, default: Duration) -> Result<Duration, String> {
    match env(name).filter(|value| !value.is_empty()) {
        None => Ok(default),
        Some(value) => go_duration(&value).ok_or_else(|| {
            format!("{name}={value}: expected a duration such as 250ms, 10s, 1m30s")
        }),
    }
}

/// `250ms`, `1m30s`, `1.5s`: as Go writes them.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(&|name| {
            pairs
                .iter()
                .find(|pair| pair.0 == name)
                .map(|pair| pair.1.to_owned())
        })
    }

    #[test]
    fn durations_as_go_writes_them() {
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(go_duration("0"), Some(Duration::ZERO));
        assert_eq!(go_duration("10"), None);
        assert_eq!(go_duration("-1s"), None);
    }

    #[test]
    fn what_is_not_built_is_refused() {
        assert!(with(&[]).is_ok());
        assert!(with(&[("BACKEND_TYPE", "memcache")])
            .unwrap_err()
            .contains("not supported"));
        assert!(with(&[("REDIS_PERSECOND", "true")]).is_err());
        assert!(with(&[("CONFIG_TYPE", "GRPC_XDS_SOTW")]).is_err());
        assert!(with(&[("PORT", "x")]).unwrap_err().starts_with("PORT=x: "));
    }
}
