//! A request as rules see it. What a stranger wrote is bounded and brought into one form first, so that no rule is
//! passed by with `//login`, `/x/../login` or `/%6cogin`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ipnet::IpNet;

/// Bytes of a token that is looked into.
const TOKEN_BYTES: usize = 8 << 10;

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub host: String,
    /// As a service reads it that decodes all of it and leaves out parameters: `/a%2Fb;x` is `/a/b`.
    pub path: String,
    /// As one reads it to which `%2F` is no slash and `;` is nothing, where that is another path.
    pub literal: Option<String>,
    pub query: String,
    pub headers: HeaderMap,
    pub address: Option<IpAddr>,
}

/// Whom to believe about the client's address.
#[derive(Clone, Debug, PartialEq)]
pub enum Client {
    /// Nobody: no rule may ask for it.
    Unknown,
    /// The connection's other end, or what Envoy's gRPC check says it is.
    Peer,
    /// A field that the proxy sets itself, whatever the client sent.
    Header(String),
    /// X-Forwarded-For, read from its end, past the proxies that are trusted.
    ForwardedFor(Vec<IpNet>),
}

impl Client {
    /// The address, or what is missing: never a guess.
    pub fn address(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Option<IpAddr>, String> {
        match self {
            Self::Unknown => Ok(None),
            Self::Peer => peer
                .map(|peer| Some(plain(peer.ip())))
                .ok_or_else(|| "the connection has no address".into()),
            Self::Header(name) => {
                let mut values = headers.get_all(name).iter();
                let (value, more) = (values.next(), values.next());
                match (
                    value.and_then(|value| value.to_str().ok()).and_then(parse),
                    more,
                ) {
                    (Some(address), None) => Ok(Some(address)),
                    _ => Err(format!(
                        "the field {name} must be one address: the proxy has to set it"
                    )),
                }
            }
            Self::ForwardedFor(trusted) => {
                let wrong = || {
                    "X-Forwarded-For must name the client: the proxy has to add to it".to_owned()
                };
                let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
                let mut last = None;
                let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
                for value in values.iter().rev() {
                    for text in value.to_str().map_err(|_| wrong())?.rsplit(',') {
                        let address = parse(text).ok_or_else(wrong)?;
                        last = Some(address);
                        if !is_trusted(&address) {
                            return Ok(last);
                        }
                    }
                }
                last.map(Some).ok_or_else(wrong)
            }
        }
    }
}

/// `192.0.2.7`, `192.0.2.7:443`, `2001:db8::1`, `[2001:db8::1]:443`.
pub fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bracketed).map(plain)
}

/// An IPv4 address is one, also where it comes as an IPv6 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// What stands for a client in a key: an IPv4 address, or an IPv6 network of this many bits.
pub fn network(address: IpAddr, bits: u8) -> String {
    match address {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(bits.clamp(1, 128)))
                .unwrap_or(u128::MAX);
            format!("{}/{bits}", Ipv6Addr::from(u128::from(six) & mask))
        }
    }
}

impl Request {
    /// What the proxy was asked, in one form; or what is wrong with it. `target` is a request's, as it came: a path and a
    /// query, or the whole of `https://host/path`.
    pub fn new(
        method: &str,
        host: &str,
        target: &str,
        headers: HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Self, String> {
        if target.contains('#') {
            // Some services end the path there and others do not: HTTP allows none.
            return Err("a request's target has no #".into());
        }
        let target = match target.split_once("://") {
            // What stands behind a slash or a question mark is no scheme: /login?next=https://example.org
            Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => rest
                .find(['/', '?'])
                .and_then(|i| rest.get(i..))
                .unwrap_or("/"),
            _ => target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = host.trim().to_ascii_lowercase();
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
            _ => host,
        };
        let host = host.trim_end_matches('.').to_owned();
        let (strict, loose) = (strict(path), loose(path));
        Ok(Self {
            method: method.to_ascii_uppercase(),
            host,
            literal: (strict != loose).then_some(strict),
            path: loose,
            query: query.to_owned(),
            headers,
            address,
        })
    }

    /// The ways in which services read the path: one, but where it has an encoded slash or parameters.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        [Some(self.path.as_str()), self.literal.as_deref()]
            .into_iter()
            .flatten()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.header("cookie")?;
        let mut pairs = cookies
            .split([';', ','])
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1.trim_matches('"').to_owned())
    }

    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .find(|pair| form(pair.0) == name)
            .map(|pair| form(pair.1))
    }

    /// A claim of the bearer's token, **unverified**: who checks it is the service behind.
    pub fn claim(&self, name: &str) -> Option<String> {
        let header = self.header("authorization")?;
        let token = header
            .strip_prefix("Bearer ")
            .or_else(|| header.strip_prefix("bearer "))?
            .trim();
        let payload = token
            .split('.')
            .nth(1)
            .filter(|payload| payload.len() <= TOKEN_BYTES)?;
        let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        match claims.get(name)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// Percent-decodes, then resolves `//`, `.` and `..`. An encoded slash stays encoded: it is no divider.
fn strict(path: &str) -> String {
    resolve(&decode(path, |byte| byte != b'/' && byte != b'%'))
}

/// The same, but an encoded slash is one, and a part ends at its `;`: also `..;` is `..`.
fn loose(path: &str) -> String {
    let decoded = decode(path, |byte| byte != b'%');
    let parts: Vec<&str> = decoded
        .split(['/', '\\'])
        .map(|part| part.split(';').next().unwrap_or_default())
        .collect();
    resolve(&parts.join("/"))
}

fn resolve(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    // What ends with a slash, or with dots that mean one, is a folder.
    let folder = matches!(path.rsplit(['/', '\\']).next(), Some("" | "." | ".."));
    let path = format!("/{}", parts.join("/"));
    if folder && path.len() > 1 {
        path + "/"
    } else {
        path
    }
}

fn form(text: &str) -> String {
    decode(&text.replace('+', " "), |_| true)
}

/// A path as a rule says it, its escapes in the one case that those of requests are in.
pub fn pattern(text: &str) -> String {
    decode(text, |_| false)
}

fn decode(text: &str, wanted: impl Fn(u8) -> bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let code = tail
            .get(..2)
            .filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                if wanted(byte) {
                    out.push(byte);
                } else {
                    out.extend_from_slice(format!("%{byte:02x}").as_bytes());
                }
                rest = tail.get(2..).unwrap_or_default();
            }
            None => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()))
            .fold(HeaderMap::new(), |mut map, (k, v)| {
                let _: bool = map.append::<axum::http::HeaderName>(k, v);
                map
            })
    }

    fn ask(target: &str) -> Result<Request, String> {
        Request::new("get", "", target, HeaderMap::new(), None)
    }

    #[test]
    fn one_path_has_one_form() {
        for target in [
            "/login",
            "//login",
            "/./login",
            "/x/../login",
            "/%6cogin",
            "/%6Cogin?x=/../y",
            "\\login",
            "https://h/login?x",
            "/login?next=https://example.org/healthz",
        ] {
            let request = ask(target).unwrap();
            assert_eq!(request.paths().collect::<Vec<_>>(), ["/login"], "{target}");
        }
        for (target, path) in [
            ("/%252e", "/%252e"),
            ("/%+f%4", "/%+f%4"),
            ("/a/b/..", "/a/"),
            ("/../../..", "/"),
            ("https://h", "/"),
            ("https://h?q=/login", "/"),
            ("/x://h/login", "/x:/h/login"),
            ("", "/"),
        ] {
            assert_eq!(ask(target).unwrap().path, path, "{target}");
        }
    }

    #[test]
    fn a_path_that_services_read_in_different_ways_has_each_form() {
        for (target, paths) in [
            ("/a%2Fb", ["/a/b", "/a%2fb"]),
            ("/x%2f..%2flogin", ["/login", "/x%2f..%2flogin"]),
            ("/x/..;/login", ["/login", "/x/..;/login"]),
            ("/login;jsessionid=1", ["/login", "/login;jsessionid=1"]),
        ] {
            let request = ask(target).unwrap();
            assert_eq!(request.paths().collect::<Vec<_>>(), paths, "{target}");
        }
        assert!(ask("/healthz#/../login").is_err());
    }

    #[test]
    fn whom_to_believe() {
        let trusted = Client::ForwardedFor(vec!["10.0.0.0/8".parse().unwrap()]);
        let ask = |client: &Client, value: &str| {
            client.address(&headers(&[("x-forwarded-for", value)]), None)
        };
        assert_eq!(
            ask(&trusted, "6.6.6.6, 192.0.2.7, 10.1.1.1"),
            Ok(Some("192.0.2.7".parse().unwrap()))
        );
        assert_eq!(
            ask(&trusted, "10.1.1.1"),
            Ok(Some("10.1.1.1".parse().unwrap()))
        );
        assert!(ask(&trusted, "junk, 10.1.1.1").is_err() && ask(&trusted, "").is_err());
        let real = Client::Header("x-real-ip".into());
        assert_eq!(
            real.address(&headers(&[("x-real-ip", "::ffff:192.0.2.7")]), None),
            Ok(parse("192.0.2.7"))
        );
        assert!(real
            .address(
                &headers(&[("x-real-ip", "1.1.1.1"), ("x-real-ip", "2.2.2.2")]),
                None
            )
            .is_err());
        assert!(real.address(&HeaderMap::new(), None).is_err());
        assert_eq!(
            network("2001:db8:1:2:3::4".parse().unwrap(), 64),
            "2001:db8:1:2::/64"
        );
    }

    #[test]
    fn parts_of_a_request() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"joe","n":7}"#);
        let token = format!("Bearer x.{claims}.y");
        let headers = headers(&[
            ("cookie", "a=1; session=\"s 1\""),
            ("authorization", &token),
        ]);
        let request =
            Request::new("get", "Example.ORG:8080", "/p?q=a%20b+c&r", headers, None).unwrap();
        assert_eq!(
            (request.method.as_str(), request.host.as_str()),
            ("GET", "example.org")
        );
        assert_eq!(request.cookie("session").as_deref(), Some("s 1"));
        assert_eq!(request.query("q").as_deref(), Some("a b c"));
        assert_eq!(
            (
                request.claim("sub").as_deref(),
                request.claim("n").as_deref()
            ),
            (Some("joe"), Some("7"))
        );
        assert_eq!(request.claim("none"), None);
    }
}
