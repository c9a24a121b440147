//! Whatever is sent: it is answered or refused, and neither ends the gateway nor makes it grow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    rate_limit_descriptor::Entry, RateLimitDescriptor,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use tonic::transport::Channel;

use crate::check;
use crate::support::{request, Gateway, Redis};

const CONFIG: &str =
    "domain: d\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 9}\n";
const MOST: usize = 64 << 20;

fn start(redis: &Redis) -> Gateway {
    let rules = "
request: original
client_address: {header: X-Real-IP}
rules:
  - {name: regex, match: {path: {regex: '^/(a|a)*$'}}, action: deny}
  - name: all
    match: {any: [{header: {X-Y: {regex: '(x+x+)+y'}}}, {query: {q: {present: true}}}, {cookie: {c: {glob: '**a**a**'}}}, {path: {glob: '/**'}}]}
    key: [ip, path, method, host, {header: X-Api-Key}, {query: q}, {cookie: c}, {jwt: sub}]
    limit: 5
    window: 1m
    deny: bad
    policy: ['p:{header:x-api-key}', 'p:{jwt:sub}']
";
    check::start_with(redis, rules, CONFIG, &[])
}

/// A generator that needs no library: the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Sends these bytes, and reads what comes until the other end closes.
fn send(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // It may be closed before all is sent, and then so be it.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn bytes_that_are_no_request() {
    let redis = Redis::start();
    let mut gateway = start(&redis);
    let before = gateway.memory();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pieces: [&[u8]; 14] = [
        b"GET /check HTTP/1.1\r\nHost: h\r\n",
        b"POST /json HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0",
        b"\xff\xff\xff\x01\x05\0\0\0\x01",
        b"X-Original-URI: \xff\xfe/%\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"{\"domain\":\"d\",\"descriptors\":[",
        b"[[[[[[[[[[",
        b"\0",
        b"%00%zz",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    for _ in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(12) {
            bytes.extend_from_slice(random.of(&pieces));
        }
        let port = [gateway.http, gateway.grpc, gateway.debug][random.below(3)];
        send(port, &bytes);
    }
    // Heads without end.
    let endless = [
        b"GET / HTTP/1.1\r\n".as_slice(),
        &b"X: y\r\n".repeat(1 << 20),
    ]
    .concat();
    for port in [gateway.http, gateway.grpc, gateway.debug] {
        send(port, &endless);
    }
    still_well(&mut gateway, before);
}

#[test]
fn requests_that_say_anything() {
    let redis = Redis::start();
    let mut gateway = start(&redis);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let long = "a".repeat(8_000);
    let parts: [&str; 22] = [
        "/", "a", "..", "%2f", "%", "%ff", "%00", "é", "\u{fffd}", "?", "&", "q=", "=", ";", "\\",
        "//", "://", "*", "+", ",", "{}", &long,
    ];
    let tokens = [
        "Bearer ",
        "x.",
        "eyJzdWIiOiJqb2UifQ",
        "eyJzdWIiOnt9fQ",
        ".",
        "\"",
        "c=",
        "; ",
        "a,",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "::1",
        "[",
        "fe80::1%eth0",
        "999",
    ];
    let mut seen = std::collections::HashSet::new();
    let before = gateway.memory();
    for round in 0..1_000 {
        let mut text = |list: &[&str], most: usize| -> String {
            (0..random.below(most)).map(|_| random.of(list)).collect()
        };
        let (uri, other, token) = (text(&parts, 8), text(&parts, 4), text(&tokens, 6));
        let (method, host) = (text(&["GET", "POST", "x", "é"], 3), text(&parts, 3));
        let address = if round % 10 == 0 {
            token.clone()
        } else {
            "192.0.2.7".to_owned()
        };
        let fields = [
            ("X-Original-Method", method.as_str()),
            ("X-Original-Host", &host),
            ("X-Original-URI", &uri),
            ("X-Real-IP", &address),
            ("X-Api-Key", &other),
            ("X-Y", &token),
            ("Authorization", &token),
            ("Cookie", &other),
            ("X-Denied-Status", "403"),
        ];
        let answer = request(gateway.http, "GET", "/check", &fields, "").unwrap();
        seen.insert(answer.status);
        assert!(
            [200, 400, 403].contains(&answer.status),
            "{fields:?}: {} {}",
            answer.status,
            answer.body
        );
        let body = format!("{{\"domain\":\"d\",\"descriptors\":[{{\"entries\":[{{\"key\":\"k\",\"value\":{}}}]}}]}}", serde_json::json!(uri + &token));
        let cut = if round % 3 == 0 {
            body.len()
        } else {
            random.below(body.len())
        };
        let cut = (0..=cut)
            .rev()
            .find(|at| body.is_char_boundary(*at))
            .unwrap();
        let answer = request(gateway.http, "POST", "/json", &[], body.get(..cut).unwrap()).unwrap();
        assert!(
            [200, 400, 429].contains(&answer.status),
            "{} {}",
            answer.status,
            answer.body
        );
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    let keys: Vec<Vec<u8>> = redis.ask(&["KEYS", "*"]);
    assert!(!keys.is_empty() && keys.iter().all(|key| key.len() < 1_100));
    still_well(&mut gateway, before);
}

#[test]
fn bodies_that_never_end_are_bounded() {
    let redis = Redis::start();
    let settings = [("MAX_IN_FLIGHT", "20"), ("MAX_CONNECTIONS", "200")];
    let mut gateway = Gateway::start(&redis, CONFIG, &settings);
    let before = gateway.memory();
    let head = "POST /json HTTP/1.1\r\nHost: h\r\nContent-Length: 260000\r\n\r\n";
    let mut open: Vec<TcpStream> = (0..150)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.http)).unwrap();
            let _ = stream.write_all(format!("{head}{}", "x".repeat(200_000)).as_bytes());
            stream
        })
        .collect();
    // Forty are read; the others are told.
    let refused = open
        .iter_mut()
        .map(|stream| {
            stream
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).is_ok() && answer.ends_with(b"503")
        })
        .filter(|is_refused| *is_refused)
        .count();
    assert_eq!(refused, 110);
    assert_eq!(gateway.get("/healthcheck").status, 200);
    drop(open);
    still_well(&mut gateway, before);
}

/// Envoy lets a call that fails pass, unless it is told otherwise: whoever sends long fields, or a large body, is denied.
#[test]
fn messages_that_are_too_large_are_denied() {
    let redis = Redis::start();
    let mut gateway = start(&redis);
    let before = gateway.memory();
    let address = format!("http://127.0.0.1:{}", gateway.grpc);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut limits = RateLimitServiceClient::new(channel.clone());
        let mut checks = AuthorizationClient::new(channel);
        for size in [100 << 10, 300 << 10, 5 << 20] {
            let is_denied = size > 256 << 10;
            let entry = Entry {
                key: "k".into(),
                value: "x".repeat(size),
            };
            let request = RateLimitRequest {
                domain: "d".into(),
                descriptors: vec![RateLimitDescriptor {
                    entries: vec![entry],
                    ..RateLimitDescriptor::default()
                }],
                ..RateLimitRequest::default()
            };
            let answer = limits.should_rate_limit(request).await.unwrap();
            let code = answer.into_inner().overall_code();
            assert_eq!(code == Code::OverLimit, is_denied, "{size}: {code:?}");

            let http = HttpRequest {
                method: "GET".into(),
                host: "h".into(),
                path: "/b".into(),
                headers: [("x-real-ip".to_owned(), "192.0.2.1".to_owned())].into(),
                body: "x".repeat(size),
                ..HttpRequest::default()
            };
            let request = CheckRequest {
                attributes: Some(AttributeContext {
                    request: Some(attribute_context::Request {
                        http: Some(http),
                        ..attribute_context::Request::default()
                    }),
                    ..AttributeContext::default()
                }),
            };
            let answer = checks.check(request).await.unwrap().into_inner();
            let is_ok = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
            assert_eq!(is_ok, !is_denied, "{size}: {answer:?}");
        }
    });
    still_well(&mut gateway, before);
}

fn still_well(gateway: &mut Gateway, before: usize) {
    assert!(
        gateway.process.0.try_wait().unwrap().is_none(),
        "it has ended"
    );
    assert_eq!(gateway.get("/healthcheck").status, 200);
    crate::support::until("it answers", || gateway.hit("d", "k", "well").status == 200);
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < MOST, "{grown} bytes more");
}
