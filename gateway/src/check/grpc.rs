//! The check over gRPC: Envoy's ext_authz.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use envoy_types::pb::envoy::config::core::v3::{
    address::Address, header_value_option::HeaderAppendAction, HeaderValue as PbHeader,
    HeaderValueOption,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::envoy::service::auth::v3 as pb;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use pb::check_response::HttpResponse;
use tonic::{Code, Status};

use super::{Answer, Check};
use crate::grpc::Sent;
use crate::rules::request::{self, Request};
use crate::rules::Rules;

impl Check {
    /// The service over gRPC.
    pub async fn call(&self, sent: Sent<pb::CheckRequest>) -> Result<pb::CheckResponse, Status> {
        let Some(rules) = self.rules() else {
            return Err(Status::unavailable("no rules are loaded"));
        };
        let request = match &sent {
            Sent::Message(request) => read(&rules, request),
            Sent::TooLarge => Err("the request and its body are too large for a check".to_owned()),
        };
        // Not an error of the call, which Envoy may be told to let pass.
        let answer = match request {
            Ok(request) => self.check(&rules, &request).await,
            Err(error) => {
                self.refused(&error);
                Answer::refused()
            }
        };
        Ok(response(&answer))
    }
}

fn read(rules: &Rules, request: &pb::CheckRequest) -> Result<Request, String> {
    let attributes = request
        .attributes
        .as_ref()
        .ok_or("attributes are missing")?;
    let http = attributes
        .request
        .as_ref()
        .and_then(|request| request.http.as_ref())
        .ok_or("the HTTP request is missing")?;
    let mut headers = HeaderMap::new();
    for (name, value) in &http.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::try_from(value.as_str()),
        ) {
            headers.append(name, value);
        }
    }
    let source = attributes
        .source
        .as_ref()
        .and_then(|peer| peer.address.as_ref()?.address.as_ref());
    let peer = match source {
        Some(Address::SocketAddress(address)) => {
            request::parse(&address.address).map(|ip| std::net::SocketAddr::new(ip, 0))
        }
        _ => None,
    };
    let address = rules.client.address(&headers, peer)?;
    Request::new(&http.method, &http.host, &http.path, headers, address)
}

fn response(answer: &Answer) -> pb::CheckResponse {
    let headers: Vec<HeaderValueOption> = answer
        .fields
        .iter()
        .map(|(key, value)| HeaderValueOption {
            header: Some(PbHeader {
                key: (*key).to_owned(),
                value: value.clone(),
                ..PbHeader::default()
            }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            ..HeaderValueOption::default()
        })
        .collect();
    let (code, http) = match answer.denial {
        None => {
            let ok = pb::OkHttpResponse {
                response_headers_to_add: headers,
                ..pb::OkHttpResponse::default()
            };
            (Code::Ok, HttpResponse::OkResponse(ok))
        }
        Some(_) => {
            let status = Some(HttpStatus {
                code: i32::from(answer.status()),
            });
            let denied = pb::DeniedHttpResponse {
                status,
                headers,
                body: answer.text().to_owned(),
            };
            (Code::PermissionDenied, HttpResponse::DeniedResponse(denied))
        }
    };
    let status = Some(RpcStatus {
        code: code as i32,
        ..RpcStatus::default()
    });
    pb::CheckResponse {
        status,
        http_response: Some(http),
        ..pb::CheckResponse::default()
    }
}
