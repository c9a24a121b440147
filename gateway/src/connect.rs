//! Where Redis is: one server, a primary that sentinels know, or a cluster.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
};

use crate::settings::{Redis, RedisType};

/// How long a server may take to let a connection in.
const PATIENCE: Duration = Duration::from_secs(1);
/// And all servers together that are asked on the way: sentinels, a cluster's nodes.
pub const PATIENCE_IN_ALL: Duration = Duration::from_secs(5);

pub enum Connector {
    Node(Nodes),
    Cluster(ClusterClient),
}

pub struct Nodes {
    settings: Redis,
    certificates: Option<TlsCertificates>,
    addresses: Vec<String>,
}

impl Connector {
    pub fn new(settings: &Redis) -> Result<Self, String> {
        let addresses: Vec<String> = settings
            .url
            .split(',')
            .map(|part| part.trim().to_owned())
            .filter(|p| !p.is_empty())
            .collect();
        if addresses.is_empty() {
            return Err("REDIS_URL names no server".into());
        }
        let certificates = certificates(settings)?;
        let nodes = Nodes {
            settings: settings.clone(),
            certificates,
            addresses,
        };
        match settings.kind {
            RedisType::Single | RedisType::Sentinel => {
                nodes.check()?;
                Ok(Self::Node(nodes))
            }
            RedisType::Cluster => nodes.cluster().map(Self::Cluster),
        }
    }
}

impl Nodes {
    fn check(&self) -> Result<(), String> {
        if self.settings.kind == RedisType::Sentinel {
            if self.addresses.len() < 2 {
                return Err(
                    "REDIS_URL must be the primary's name, then its sentinels: mymaster,host:26379"
                        .into(),
                );
            }
            for address in self.addresses.iter().skip(1) {
                self.address(address)?;
            }
            return Ok(());
        }
        match self.addresses.as_slice() {
            [only] => self.info(only).map(|_| ()),
            _ => Err("REDIS_URL names several servers: set REDIS_TYPE".into()),
        }
    }

    /// `redis://`, `rediss://`, `unix://`, `host:port` or a socket's path.
    fn info(&self, text: &str) -> Result<ConnectionInfo, String> {
        let told = |error: redis::RedisError| {
            format!("REDIS_URL: {}", error.detail().unwrap_or("not an address"))
        };
        if text.contains("://") {
            let info = text.into_connection_info().map_err(told)?;
            let settings = match &self.settings.auth {
                Some(_) => self.credentials().set_db(info.redis_settings().db()),
                None => info.redis_settings().clone(),
            };
            return Ok(info.set_redis_settings(settings));
        }
        let address = if self.settings.socket == "unix" && !text.contains(':') {
            ConnectionAddr::Unix(text.into())
        } else {
            self.address(text)?
        };
        Ok(address
            .into_connection_info()
            .map_err(told)?
            .set_redis_settings(self.credentials()))
    }

    fn address(&self, text: &str) -> Result<ConnectionAddr, String> {
        let wrong = || format!("REDIS_URL: '{text}' is not host:port");
        let text = text.rsplit_once('@').map_or(text, |(_, address)| address);
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(if self.settings.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: self.settings.tls_any_name,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        })
    }

    fn credentials(&self) -> RedisConnectionInfo {
        match &self.settings.auth {
            None => RedisConnectionInfo::default(),
            Some(auth) => match auth.split_once(':') {
                Some((user, password)) => RedisConnectionInfo::default()
                    .set_username(user)
                    .set_password(password),
                None => RedisConnectionInfo::default().set_password(auth),
            },
        }
    }

    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        // How long a request waits is its own business.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(None);
        let client = match (self.settings.kind, self.addresses.first()) {
            (RedisType::Sentinel, Some(name)) => return self.sentinel(name, &config).await,
            (_, Some(address)) => {
                let info = self.info(address).map_err(invalid)?;
                let secure = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
                match &self.certificates {
                    Some(certificates) if secure => {
                        Client::build_with_tls(info, certificates.clone())?
                    }
                    _ => Client::open(info)?,
                }
            }
            (_, None) => return Err(invalid("no address".into())),
        };
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    async fn sentinel(
        &self,
        name: &str,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let sentinels = self
            .addresses
            .iter()
            .skip(1)
            .map(|text| self.address(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let mut builder = SentinelClientBuilder::new(sentinels, name, SentinelServerType::Master)?;
        if let Some(auth) = &self.settings.auth {
            let (user, password) = auth
                .split_once(':')
                .map_or((None, auth.as_str()), |(user, password)| {
                    (Some(user), password)
                });
            if let Some(user) = user {
                builder = builder.set_client_to_redis_username(user);
            }
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(auth) = &self.settings.sentinel_auth {
            let (user, password) = auth
                .split_once(':')
                .map_or((None, auth.as_str()), |(user, password)| {
                    (Some(user), password)
                });
            if let Some(user) = user {
                builder = builder.set_client_to_sentinel_username(user);
            }
            builder = builder.set_client_to_sentinel_password(password);
        }
        if self.settings.tls {
            let mode = if self.settings.tls_any_name {
                TlsMode::Insecure
            } else {
                TlsMode::Secure
            };
            builder = builder.set_client_to_redis_tls_mode(mode);
            if let Some(certificates) = &self.certificates {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
            }
        }
        builder
            .build()?
            .get_async_connection_with_config(config)
            .await
    }

    fn cluster(&self) -> Result<ClusterClient, String> {
        let nodes = self
            .addresses
            .iter()
            .map(|text| self.info(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .retries(0)
            .connection_timeout(PATIENCE)
            .response_timeout(self.settings.timeout.max(PATIENCE));
        if self.settings.tls {
            builder = builder.tls(if self.settings.tls_any_name {
                TlsMode::Insecure
            } else {
                TlsMode::Secure
            });
            if let Some(certificates) = &self.certificates {
                builder = builder.certs(certificates.clone());
            }
        }
        builder
            .build()
            .map_err(|error| format!("REDIS_URL: {error}"))
    }
}

fn invalid(text: String) -> redis::RedisError {
    redis::RedisError::from((
        redis::ErrorKind::InvalidClientConfig,
        "invalid address",
        text,
    ))
}

fn certificates(settings: &Redis) -> Result<Option<TlsCertificates>, String> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let client_tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        (None, None) => None,
        _ => return Err("REDIS_TLS_CLIENT_CERT and REDIS_TLS_CLIENT_KEY go together".into()),
    };
    let root_cert = settings.tls_ca.as_ref().map(read).transpose()?;
    Ok(
        (client_tls.is_some() || root_cert.is_some()).then_some(TlsCertificates {
            client_tls,
            root_cert,
        }),
    )
}
