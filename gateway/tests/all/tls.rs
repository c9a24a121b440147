//! TLS to Redis and on the listeners, certificates of clients, and passwords, which no log repeats.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{free_port, until, Gateway, Redis, Scratch};

const CONFIG: &str =
    "domain: d\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 9}\n";

/// An authority, and a server and a client that it knows: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
fn certificates(directory: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    std::fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["server", "client"] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let signed = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), signed.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn redis_behind_tls_that_asks_for_a_certificate() {
    let scratch = Scratch::new();
    certificates(&scratch.0);
    let other = Scratch::new();
    certificates(&other.0);
    let at = |scratch: &Scratch, name: &str| scratch.0.join(name).to_str().unwrap().to_owned();
    let of = |name: &str| at(&scratch, name);
    let port = free_port().to_string();
    let redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-auth-clients",
        "yes",
        "--tls-cert-file",
        &of("server.pem"),
        "--tls-key-file",
        &of("server.key"),
        "--tls-ca-cert-file",
        &of("ca.pem"),
    ]);
    let url = format!("127.0.0.1:{port}");
    let (ca, foreign, cert, key) = (
        of("ca.pem"),
        at(&other, "ca.pem"),
        of("client.pem"),
        of("client.key"),
    );
    let tls = [("REDIS_TLS", "true"), ("REDIS_URL", url.as_str())];
    let with = |more: &[(&'static str, &str)]| {
        let all: Vec<(&str, &str)> = tls.iter().chain(more).copied().collect();
        let scratch = Scratch::new();
        scratch.write("config/config.yaml", CONFIG);
        Gateway::start_in(scratch, redis.port, &all)
    };
    let mutual = with(&[
        ("REDIS_TLS_CACERT", &ca),
        ("REDIS_TLS_CLIENT_CERT", &cert),
        ("REDIS_TLS_CLIENT_KEY", &key),
    ]);
    until("it has connected", || {
        mutual.hit("d", "k", "x").status == 200
    });
    // Neither without a certificate, nor to a server that an authority of others has signed.
    let nobody = with(&[("REDIS_TLS_CACERT", &ca)]);
    let fooled = with(&[
        ("REDIS_TLS_CACERT", &foreign),
        ("REDIS_TLS_CLIENT_CERT", &cert),
        ("REDIS_TLS_CLIENT_KEY", &key),
    ]);
    for gateway in [&nobody, &fooled] {
        for _ in 0..5 {
            assert_eq!(gateway.hit("d", "k", "x").status, 503);
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(gateway.metric("ratelimit_gateway_redis_connected"), Some(0));
    }
}

/// The status of a GET over TLS, or why there is none.
fn get(port: u16, directory: &Path, client: Option<&Path>, path: &str) -> Result<u16, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(directory) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(directory.join("client.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(directory.join("client.key")).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).unwrap());
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .map_err(|error| told(&error))?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(|error| told(&error))?;
    Ok(std::str::from_utf8(&head[9..]).unwrap().parse().unwrap())
}

#[test]
fn listeners_behind_tls() {
    let redis = Redis::start();
    let (scratch, other) = (Scratch::new(), Scratch::new());
    certificates(&scratch.0);
    certificates(&other.0);
    let of = |name: &str| scratch.0.join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (of("server.pem"), of("server.key"), of("ca.pem"));
    let plain = [("SERVER_TLS_CERT", cert.as_str()), ("SERVER_TLS_KEY", &key)];
    let mutual = [
        plain[0],
        plain[1],
        ("CLIENT_TLS_CACERT", &ca),
        ("GRPC_SERVER_USE_TLS", "true"),
        ("GRPC_SERVER_TLS_CERT", &cert),
        ("GRPC_SERVER_TLS_KEY", &key),
        ("GRPC_CLIENT_TLS_CACERT", &ca),
    ];
    let start = |settings: &[(&str, &str)]| {
        let scratch = Scratch::new();
        scratch.write("config/config.yaml", CONFIG);
        Gateway::start_in(scratch, redis.port, settings)
    };
    let gateway = start(&plain);
    until("it is healthy", || {
        get(gateway.http, &scratch.0, None, "/healthcheck") == Ok(200)
    });
    assert!(
        crate::support::request(gateway.http, "GET", "/healthcheck", &[], "")
            .is_ok_and(|answer| answer.status == 0)
    );
    let gateway = start(&mutual);
    let known = Some(scratch.0.as_path());
    until("it is healthy", || {
        get(gateway.http, &scratch.0, known, "/healthcheck") == Ok(200)
    });
    assert_eq!(
        get(gateway.grpc, &scratch.0, known, "/"),
        Ok(200),
        "a call that is none, told over gRPC"
    );
    for port in [gateway.http, gateway.grpc] {
        for stranger in [None, Some(other.0.as_path())] {
            assert!(get(port, &scratch.0, stranger, "/healthcheck").is_err());
        }
    }
    // What cannot be read is told at the start.
    let out = Gateway::command(
        &scratch.0,
        redis.port,
        &[("SERVER_TLS_CERT", "/none"), ("SERVER_TLS_KEY", &key)],
    )
    .output()
    .unwrap();
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && told.contains("/none"), "{told}");
}

#[test]
fn no_log_repeats_a_password() {
    let redis = Redis::start();
    let () = redis.ask(&["CONFIG", "SET", "requirepass", "right-horse"]);
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("password"), "right-horse\n").unwrap();
    let file = scratch.0.join("password").to_str().unwrap().to_owned();
    let log = |name: &str| scratch.0.join(name);
    let by_file = Gateway::start_logging(
        &redis,
        CONFIG,
        &[("REDIS_AUTH_FILE", &file), ("LOG_LEVEL", "TRACE")],
        &log("file"),
    );
    assert_eq!(by_file.hit("d", "k", "x").status, 200);
    let wrong = Scratch::new();
    wrong.write("config/config.yaml", CONFIG);
    let settings = [("REDIS_AUTH", "wrong-battery"), ("LOG_LEVEL", "TRACE")];
    let wrong = Gateway::start_in_logging(wrong, redis.port, &settings, &log("wrong"));
    until("it says why", || {
        assert_eq!(wrong.hit("d", "k", "x").status, 503);
        std::fs::read_to_string(log("wrong"))
            .unwrap()
            .contains("cannot connect to Redis")
    });
    for (name, password) in [("file", "right-horse"), ("wrong", "wrong-battery")] {
        let text = std::fs::read_to_string(log(name)).unwrap();
        assert!(text.len() > 100 && !text.contains(password), "{text}");
    }
    let url = format!("redis://:wrong-battery@127.0.0.1:{}/%zz", redis.port);
    let out = Gateway::command(&scratch.0, redis.port, &[("REDIS_URL", &url)])
        .env("LOG_LEVEL", "shout")
        .output()
        .unwrap();
    assert!(!out.status.success() && !String::from_utf8_lossy(&out.stderr).contains("battery"));
}
