//! The way to Redis. Each worker has its connections, shared by all its requests, so that commands that wait together travel
//! together.
//! A command is sent once: where its answer is lost, the request fails, and nothing is sent again. Nothing waits for a
//! connection: while there is none, requests fail at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::Notify;

use crate::call::is_overflow;
use crate::connect::{Connector, PATIENCE_IN_ALL};
use crate::settings::{Redis, RedisType};
use crate::workers::{self, Workers};

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why Redis gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// One connection, made anew by a task of its own whenever it is lost.
struct Link {
    connection: RwLock<Option<Connection>>,
    lost: Notify,
    /// Milliseconds since the start when the connection was made, and when an answer last came.
    made_ms: AtomicU64,
    answered_ms: AtomicU64,
}

pub struct Store {
    /// By turns the first worker's, the second's and so on.
    links: Vec<Arc<Link>>,
    workers: usize,
    next: AtomicUsize,
    timeout: Duration,
    started: Instant,
    pub is_cluster: bool,
}

impl Store {
    /// Begins to connect; `changed` hears of each connection that is made or lost.
    pub fn new(
        settings: &Redis,
        changed: &Arc<Notify>,
        workers: &Arc<Workers>,
    ) -> Result<Self, String> {
        let connector = Arc::new(Connector::new(settings)?);
        let is_cluster = settings.kind == RedisType::Cluster;
        let started = Instant::now();
        let each = if is_cluster {
            1
        } else {
            settings.connections.div_ceil(workers.count())
        };
        let links = (0..each * workers.count())
            .map(|_| {
                Arc::new(Link {
                    connection: RwLock::new(None),
                    lost: Notify::new(),
                    made_ms: AtomicU64::new(0),
                    answered_ms: AtomicU64::new(0),
                })
            })
            .collect::<Vec<_>>();
        for (number, link) in links.iter().enumerate() {
            let keeping = keep(
                Arc::clone(link),
                Arc::clone(&connector),
                Arc::clone(changed),
                started,
            );
            workers.spawn(number % workers.count(), keeping);
        }
        Ok(Self {
            links,
            workers: workers.count(),
            next: AtomicUsize::new(0),
            timeout: settings.timeout,
            started,
            is_cluster,
        })
    }

    pub fn is_connected(&self) -> bool {
        self.links.iter().any(|link| link.get().is_some())
    }

    /// Sends commands together and waits for their answers, no longer than the deadline.
    pub async fn ask(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        // The worker's own in turn; while none of them is connected, another's.
        let turn = self.next.fetch_add(1, Relaxed);
        let first = workers::number().wrapping_add(turn.wrapping_mul(self.workers));
        let count = self.links.len().max(1);
        let Some((link, connection)) = (0..count).find_map(|i| {
            let link = self.links.get(first.wrapping_add(i) % count)?;
            link.get().map(|connection| (link, connection))
        }) else {
            return Err(Failure("no connection to Redis".into()));
        };
        match tokio::time::timeout(self.timeout, send(connection, commands)).await {
            Ok(Ok(values)) => {
                link.answered_ms.store(since(self.started), Relaxed);
                Ok(values)
            }
            Ok(Err(error)) => {
                if is_lost(&error) {
                    link.lost.notify_one();
                }
                Err(Failure(describe(&error)))
            }
            Err(_) => {
                // One late answer is no lost connection; none for as long as two deadlines is. Of a cluster, others
                // than the node that is late may answer: who serves its slots now is asked anew, once in a while.
                let since_ms = if self.is_cluster {
                    &link.made_ms
                } else {
                    &link.answered_ms
                };
                let silent = since(self.started).saturating_sub(since_ms.load(Relaxed));
                if u128::from(silent) > self.timeout.as_millis().saturating_mul(2) {
                    link.lost.notify_one();
                }
                Err(Failure(format!(
                    "Redis gave no answer within {:?}",
                    self.timeout
                )))
            }
        }
    }
}

impl Link {
    fn get(&self) -> Option<Connection> {
        self.connection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, connection: Option<Connection>) {
        *self
            .connection
            .write()
            .unwrap_or_else(PoisonError::into_inner) = connection;
    }
}

fn since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Connects, waits until the connection is lost, and again.
async fn keep(link: Arc<Link>, connector: Arc<Connector>, changed: Arc<Notify>, started: Instant) {
    let mut pause = FIRST_PAUSE;
    loop {
        let connecting = async {
            match &*connector {
                Connector::Cluster(client) => {
                    client.get_async_connection().await.map(Connection::Cluster)
                }
                Connector::Node(nodes) => nodes.connect().await.map(Connection::Node),
            }
        };
        match tokio::time::timeout(PATIENCE_IN_ALL, connecting).await {
            Ok(Ok(connection)) => {
                tracing::info!("connected to Redis");
                pause = FIRST_PAUSE;
                let now = since(started);
                link.made_ms.store(now, Relaxed);
                link.answered_ms.store(now, Relaxed);
                link.set(Some(connection.clone()));
                changed.notify_one();
                let is_cluster = matches!(connection, Connection::Cluster(_));
                watch(&link, connection, started).await;
                tracing::warn!("the connection to Redis is lost");
                // A cluster's other nodes serve on, while it is asked who does what.
                if !is_cluster {
                    link.set(None);
                    changed.notify_one();
                }
            }
            failed => {
                let error = match failed {
                    Ok(Err(error)) => describe(&error),
                    _ => format!("no answer within {PATIENCE_IN_ALL:?}"),
                };
                tracing::warn!("cannot connect to Redis: {error}");
                link.set(None);
                changed.notify_one();
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(Duration::from_secs(1));
    }
}

/// Waits until the connection is lost: a request says so, or, where there are none, a PING.
async fn watch(link: &Link, connection: Connection, started: Instant) {
    loop {
        tokio::select! {
            () = link.lost.notified() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        let ping = send(connection.clone(), vec![redis::cmd("PING")]);
        match tokio::time::timeout(Duration::from_secs(1), ping).await {
            Ok(Err(error)) if is_lost(&error) => return,
            // So that after an idle hour one late answer is no lost connection either.
            Ok(Ok(_)) => link.answered_ms.store(since(started), Relaxed),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

async fn send(connection: Connection, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
    match connection {
        Connection::Node(mut connection) => {
            if let [only] = commands.as_slice() {
                return Ok(vec![refusal(connection.req_packed_command(only).await?)?]);
            }
            let mut pipe = redis::Pipeline::with_capacity(commands.len());
            let count = commands.len();
            for command in commands {
                pipe.add_command(command);
            }
            connection
                .req_packed_commands(&pipe, 0, count)
                .await?
                .into_iter()
                .map(refusal)
                .collect()
        }
        Connection::Cluster(connection) => {
            let sends = commands
                .into_iter()
                .map(|command| routed(connection.clone(), command));
            let mut values = Vec::new();
            for sent in sends.map(tokio::spawn).collect::<Vec<_>>() {
                let value = sent
                    .await
                    .map_err(|_| RedisError::from((ErrorKind::Client, "a command was not sent")))?;
                values.push(value?);
            }
            Ok(values)
        }
    }
}

fn refusal(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) if !is_overflow(&error) => Err(error.into()),
        value => Ok(value),
    }
}

/// Of a cluster's refusals, those that say that nothing was done there are worth another try: slots that have moved.
async fn routed(mut connection: ClusterConnection, command: Cmd) -> RedisResult<Value> {
    let mut pause = Duration::from_millis(5);
    loop {
        match connection
            .req_packed_command(&command)
            .await
            .and_then(refusal)
        {
            Err(error) if matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN")) => {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
            result => return result,
        }
    }
}

/// Whether the connection is of no more use: broken, or to a server that no longer is the primary.
fn is_lost(error: &RedisError) -> bool {
    if error.is_timeout() {
        return false;
    }
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "NOAUTH"))
}

/// What went wrong, without what was sent.
pub fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("Redis said {code} {detail}"),
        _ => error.to_string(),
    }
}
