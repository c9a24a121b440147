//! The check over HTTP, for nginx, Caddy, Traefik, HAProxy, and Envoy's ext_authz.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{request::Parts, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Check, Denial};
use crate::rules::request::Request;
use crate::rules::{Rules, Source};

/// The field by which a proxy asks for a denial with another status: nginx makes 500 of any but 401 and 403, and what lets
/// all pass where a gateway is away takes a 503 for that, also where a rule has said closed.
const DENIED_STATUS: &str = "x-denied-status";

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

pub async fn check(
    State(check): State<Arc<Check>>,
    Extension(peer): Extension<Peer>,
    parts: Parts,
) -> Response {
    let Some(rules) = check.rules() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no rules are loaded\n").into_response();
    };
    let denied = match parts
        .headers
        .get(DENIED_STATUS)
        .map(|value| value.as_bytes())
    {
        None => None,
        Some(b"403") => Some(StatusCode::FORBIDDEN),
        Some(b"429") => Some(StatusCode::TOO_MANY_REQUESTS),
        Some(_) => {
            return (
                StatusCode::BAD_REQUEST,
                "X-Denied-Status may be 403 or 429\n",
            )
                .into_response()
        }
    };
    let request = match read(&rules, &parts, peer) {
        Ok(request) => request,
        Err(error) => {
            check.refused(&error);
            return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response();
        }
    };
    let answer = check.check(&rules, &request).await;
    let mut status =
        StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let (Some(other), Some(Denial::Limit | Denial::Unavailable)) = (denied, answer.denial) {
        status = other;
    }
    let mut response = (status, answer.text()).into_response();
    for (name, value) in &answer.fields {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

/// The request that the proxy was asked. What it has to tell and does not is an error: never a guess.
fn read(rules: &Rules, parts: &Parts, peer: Peer) -> Result<Request, String> {
    let told = |name: &str| -> Result<String, String> {
        let mut values = parts.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            _ => Err(format!(
                "the field {name} must be there once: the proxy has to set it"
            )),
        }
    };
    let address = rules.client.address(&parts.headers, peer.0)?;
    let headers = parts.headers.clone();
    match rules.source {
        Source::Forwarded => Request::new(
            &told("x-forwarded-method")?,
            &told("x-forwarded-host")?,
            &told("x-forwarded-uri")?,
            headers,
            address,
        ),
        Source::Original => Request::new(
            &told("x-original-method")?,
            &told("x-original-host")?,
            &told("x-original-uri")?,
            headers,
            address,
        ),
        Source::Path => {
            let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
            let uri = uri.strip_prefix("/check").unwrap_or(uri);
            let uri = if uri.starts_with('/') {
                uri.to_owned()
            } else {
                format!("/{uri}")
            };
            Request::new(
                parts.method.as_str(),
                host(&parts.headers, parts),
                &uri,
                headers,
                address,
            )
        }
    }
}

fn host<'a>(headers: &'a HeaderMap, parts: &'a Parts) -> &'a str {
    let field = headers.get("host").and_then(|value| value.to_str().ok());
    field
        .or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
}
