//! A listener: HTTP/1.1, HTTP/2 and gRPC on one port, with TLS or without. Connections, headers and the time to send them
//! are bounded; when it is told to stop, what has begun is finished.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{watch, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::seldom::Seldom;
use crate::settings::Tls;
use crate::workers::Workers;

/// How long a client may take for its handshake, and for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than proxies let through by themselves: what is refused for its size might be let pass.
const HEAD_BYTES: usize = 128 << 10;
const HEAD_LIST: u32 = 128 << 10;

pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub async fn tcp(address: &str) -> Result<Self, String> {
        TcpListener::bind(address)
            .await
            .map(Self::Tcp)
            .map_err(|error| format!("cannot listen on {address}: {error}"))
    }

    pub fn unix(path: &Path) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("cannot listen on {}: {error}", path.display());
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(told(error)),
            _ => {}
        }
        UnixListener::bind(path).map(Self::Unix).map_err(told)
    }

    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            Self::Unix(_) => None,
        }
    }
}

#[derive(Clone)]
pub struct Limits {
    pub connections: usize,
    /// After so long a connection is asked to come anew, so that load spreads over new instances.
    pub age: Duration,
}

/// Serves until `stop` says so, then finishes what has begun.
pub async fn serve(
    listener: Listener,
    workers: Arc<Workers>,
    tls: Option<TlsAcceptor>,
    app: App,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let refusals = Seldom::default();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stopped| *stopped) => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // No more descriptors, say: some will be free again.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refusals.warn(format_args!(
                "too many connections (MAX_CONNECTIONS={})",
                limits.connections
            ));
            continue;
        };
        let (tls, app, stop, age) = (tls.clone(), app.clone(), stop.clone(), limits.age);
        workers.serve(async move {
            let _place = place;
            let stream = match stream.here() {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!("cannot serve a connection: {error}"),
            };
            match (stream, tls) {
                (Stream::Tcp(stream, peer), None) => {
                    connection(stream, app.of(Some(peer)), age, stop).await;
                }
                (Stream::Tcp(stream, peer), Some(tls)) => {
                    match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => connection(stream, app.of(Some(peer)), age, stop).await,
                        Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
                (Stream::Unix(stream), _) => connection(stream, app.of(None), age, stop).await,
            }
        });
    }
    drop(listener);
    // All places are free again when all connections have ended.
    let _ = places.acquire_many(all).await;
}

enum Stream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// One that no runtime has yet.
enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

async fn accept(listener: &Listener) -> std::io::Result<Accepted> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Accepted::Tcp(stream.into_std()?, peer))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok(Accepted::Unix(stream.into_std()?))
        }
    }
}

impl Accepted {
    /// The runtime that it is called on serves it.
    fn here(self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(stream, peer) => TcpStream::from_std(stream).map(|s| Stream::Tcp(s, peer)),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

async fn connection<S>(stream: S, app: App, age: Duration, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1_024)
        .max_header_list_size(HEAD_LIST)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(PATIENCE);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        _ = stop.wait_for(|stopped| *stopped) => None,
        () = tokio::time::sleep(age) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Certificate, key and, where clients must show a certificate, the CA that signs them.
pub fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let told = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let read = |path: &Path| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| told(path, &error))
    };
    let certificates = read(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| told(&tls.key, &error))?;
    let builder = match &tls.client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in read(path)? {
                roots.add(certificate).map_err(|error| told(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .map_err(|error| told(path, &error))?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| told(&tls.cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
