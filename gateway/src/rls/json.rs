//! The service for who cannot speak gRPC: `POST /json` with a request as proto3 JSON, answered in kind, 200 or 429.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3 as pb;
use envoy_types::pb::google::protobuf::{value::Kind, Struct, UInt64Value};
use serde_json::{json, Map, Value};

use crate::config::Unit;

/// A request, or what is wrong with it.
pub fn request(body: &[u8]) -> Result<pb::RateLimitRequest, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut out = pb::RateLimitRequest::default();
    for (name, value) in fields(&value)? {
        match name {
            "domain" => out.domain = text(value)?,
            "descriptors" => {
                out.descriptors = items(value)?
                    .iter()
                    .map(descriptor)
                    .collect::<Result<_, _>>()?
            }
            "hitsAddend" | "hits_addend" => out.hits_addend = number(value)?,
            _ => return Err(format!("unknown field \"{name}\"")),
        }
    }
    Ok(out)
}

fn descriptor(value: &Value) -> Result<RateLimitDescriptor, String> {
    let mut out = RateLimitDescriptor::default();
    for (name, value) in fields(value)? {
        match name {
            "entries" => out.entries = items(value)?.iter().map(entry).collect::<Result<_, _>>()?,
            "limit" => out.limit = Some(limit(value)?),
            "hitsAddend" | "hits_addend" => {
                out.hits_addend = Some(UInt64Value {
                    value: number(value)?,
                })
            }
            "isNegativeHits" | "is_negative_hits" => {
                out.is_negative_hits =
                    value.as_bool().ok_or("is_negative_hits is true or false")?;
            }
            _ => return Err(format!("unknown field \"{name}\"")),
        }
    }
    Ok(out)
}

fn entry(value: &Value) -> Result<Entry, String> {
    let mut out = Entry::default();
    for (name, value) in fields(value)? {
        match name {
            "key" => out.key = text(value)?,
            "value" => out.value = text(value)?,
            _ => return Err(format!("unknown field \"{name}\"")),
        }
    }
    Ok(out)
}

fn limit(value: &Value) -> Result<RateLimitOverride, String> {
    let mut out = RateLimitOverride::default();
    for (name, value) in fields(value)? {
        match (name, value) {
            ("requestsPerUnit" | "requests_per_unit", value) => {
                out.requests_per_unit = number(value)?
            }
            ("unit", Value::String(unit)) if unit == "UNKNOWN" => {}
            ("unit", Value::String(unit)) if unit.bytes().all(|b| b.is_ascii_uppercase()) => {
                out.unit = Unit::of(unit).ok_or_else(|| format!("unknown unit {unit}"))? as i32;
            }
            ("unit", value) => out.unit = number(value)?,
            _ => return Err(format!("unknown field \"{name}\"")),
        }
    }
    Ok(out)
}

/// Fields that say something: `null` is as if it were not there.
fn fields(value: &Value) -> Result<impl Iterator<Item = (&str, &Value)>, String> {
    let map = value
        .as_object()
        .ok_or_else(|| format!("expected an object, found {}", kind(value)))?;
    Ok(map
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.as_str(), value)))
}

fn items(value: &Value) -> Result<&[Value], String> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| format!("expected a list, found {}", kind(value)))
}

fn text(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("expected a text, found {}", kind(value)))
}

/// A number, or one in quotes.
fn number<T: TryFrom<u64>>(value: &Value) -> Result<T, String> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    number
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("expected a whole number, found {value}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub fn response(response: &pb::RateLimitResponse) -> Value {
    let code = |code: i32| {
        pb::rate_limit_response::Code::try_from(code)
            .unwrap_or_default()
            .as_str_name()
    };
    let mut out = Map::new();
    out.insert("overallCode".into(), json!(code(response.overall_code)));
    let statuses = response.statuses.iter().map(|status| {
        let mut out = Map::new();
        out.insert("code".into(), json!(code(status.code)));
        if let Some(limit) = &status.current_limit {
            let mut shown = Map::new();
            if !limit.name.is_empty() {
                shown.insert("name".into(), json!(limit.name));
            }
            if limit.requests_per_unit != 0 {
                shown.insert("requestsPerUnit".into(), json!(limit.requests_per_unit));
            }
            if let Some(unit) = Unit::numbered(limit.unit) {
                shown.insert("unit".into(), json!(unit.name()));
            }
            out.insert("currentLimit".into(), Value::Object(shown));
        }
        if status.limit_remaining != 0 {
            out.insert("limitRemaining".into(), json!(status.limit_remaining));
        }
        if let Some(reset) = &status.duration_until_reset {
            out.insert(
                "durationUntilReset".into(),
                json!(format!("{}s", reset.seconds)),
            );
        }
        Value::Object(out)
    });
    out.insert("statuses".into(), Value::Array(statuses.collect()));
    if !response.response_headers_to_add.is_empty() {
        let headers = response
            .response_headers_to_add
            .iter()
            .map(|h| json!({ "key": h.key, "value": h.value }));
        out.insert(
            "responseHeadersToAdd".into(),
            Value::Array(headers.collect()),
        );
    }
    if let Some(metadata) = &response.dynamic_metadata {
        out.insert("dynamicMetadata".into(), structure(metadata));
    }
    Value::Object(out)
}

fn structure(fields: &Struct) -> Value {
    let mut rows: Vec<_> = fields.fields.iter().collect();
    rows.sort_by(|a, b| a.0.cmp(b.0));
    Value::Object(
        rows.into_iter()
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
    )
}

fn plain(value: &envoy_types::pb::google::protobuf::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(n)) => json!(n),
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::BoolValue(truth)) => json!(truth),
        Some(Kind::StructValue(fields)) => structure(fields),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(plain).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_numbers_in_quotes() {
        let body = br#"{"domain":"d","hitsAddend":2,"descriptors":[{"entries":[{"key":"k","value":"v"}],
            "limit":{"requests_per_unit":5,"unit":"MINUTE"},"hits_addend":"3","isNegativeHits":true}]}"#;
        let request = request(body).unwrap();
        let descriptor = &request.descriptors[0];
        assert_eq!(
            (request.hits_addend, descriptor.hits_addend.unwrap().value),
            (2, 3)
        );
        assert_eq!(
            descriptor
                .limit
                .as_ref()
                .map(|l| (l.requests_per_unit, l.unit)),
            Some((5, 2))
        );
        assert!(descriptor.is_negative_hits);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in [
            "",
            "[]",
            "{\"domian\":\"d\"}",
            "{\"hitsAddend\":-1}",
            "{\"hitsAddend\":4294967296}",
            "{\"descriptors\":{}}",
        ] {
            assert!(request(body.as_bytes()).is_err(), "{body}");
        }
    }
}
