//! What Redis answered, as the service's response, and what is counted of it.

use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3 as pb;
use envoy_types::pb::google::protobuf::{value::Kind, Duration, ListValue, Struct, Value};
use pb::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use serde_json::{Map, Value as Json};

use super::plan::{Part, Plan};
use crate::call::Verdict;
use crate::config::{Match, Rule};
use crate::settings::{Headers, Settings};
use crate::stats::Stats;

pub fn reply(
    request: &pb::RateLimitRequest,
    plan: &Plan,
    settings: &Settings,
    stats: &Stats,
) -> pb::RateLimitResponse {
    let mut statuses = Vec::with_capacity(plan.parts.len());
    // The descriptor nearest to its limit, for the headers.
    let mut nearest: Option<(u32, usize)> = None;
    let (mut over, mut quotas, mut quotas_over) = (0, 0, 0);
    let mut passed = Vec::new();
    for (i, part) in plan.parts.iter().enumerate() {
        let status = status(part);
        count(part, settings);
        if status.current_limit.is_some()
            && nearest.is_none_or(|(least, _)| status.limit_remaining < least)
        {
            nearest = Some((status.limit_remaining, i));
        }
        if !part.unlimited {
            let quota = settings.quota_mode
                || part
                    .matched
                    .as_ref()
                    .is_some_and(|matched| matched.rule.quota_mode);
            quotas += usize::from(quota);
            if status.code == Code::OverLimit as i32 {
                if quota {
                    quotas_over += 1;
                } else {
                    over += 1;
                    nearest = Some((0, i));
                }
            } else if settings.dynamic_metadata {
                passed.push(i);
            }
        }
        statuses.push(status);
    }
    // Over its limit: one that binds is, or all quotas are.
    let mut code = if over > 0 || (quotas > 0 && quotas == quotas_over) {
        Code::OverLimit
    } else {
        Code::Ok
    };
    let headers = match (
        &settings.headers,
        nearest.and_then(|(_, i)| statuses.get(i)),
    ) {
        (Some(names), Some(status)) => headers(names, status),
        _ => Vec::new(),
    };
    if code == Code::OverLimit && settings.shadow_mode {
        code = Code::Ok;
        stats.global_shadow_mode.add(1);
    }
    pb::RateLimitResponse {
        overall_code: code as i32,
        statuses,
        response_headers_to_add: headers,
        dynamic_metadata: settings
            .dynamic_metadata
            .then(|| metadata(request, plan, &passed)),
        ..pb::RateLimitResponse::default()
    }
}

/// The response where Redis was not asked.
pub fn unasked(request: &pb::RateLimitRequest, code: Code) -> pb::RateLimitResponse {
    let status = DescriptorStatus {
        code: code as i32,
        ..DescriptorStatus::default()
    };
    let statuses = vec![status; request.descriptors.len()];
    pb::RateLimitResponse {
        overall_code: code as i32,
        statuses,
        ..pb::RateLimitResponse::default()
    }
}

fn status(part: &Part) -> DescriptorStatus {
    if part.unlimited {
        return DescriptorStatus {
            code: Code::Ok as i32,
            limit_remaining: u32::MAX,
            ..DescriptorStatus::default()
        };
    }
    let (Some(matched), Some(verdict)) = (&part.matched, part.verdict) else {
        return DescriptorStatus {
            code: Code::Ok as i32,
            ..DescriptorStatus::default()
        };
    };
    let rule = matched.rule.as_ref();
    let code = if verdict.allowed || rule.shadow_mode {
        Code::Ok
    } else {
        Code::OverLimit
    };
    DescriptorStatus {
        code: code as i32,
        current_limit: Some(current_limit(rule, verdict)),
        limit_remaining: if verdict.allowed {
            u32::try_from(verdict.remaining).unwrap_or(u32::MAX)
        } else {
            0
        },
        duration_until_reset: Some(Duration {
            seconds: until_reset(rule, verdict),
            nanos: 0,
        }),
        ..DescriptorStatus::default()
    }
}

/// The limit in force: the configuration's, unless the server's policy or another of several limits binds.
fn current_limit(rule: &Rule, verdict: Verdict) -> RateLimit {
    let one = rule
        .limits
        .as_ref()
        .is_some_and(|limits| limits.limits.len() == 1 && limits.policies.is_empty());
    RateLimit {
        name: rule.name.clone(),
        requests_per_unit: if one {
            rule.requests_per_unit
        } else {
            u32::try_from(verdict.limit).unwrap_or(u32::MAX)
        },
        unit: if one { rule.unit as i32 } else { 0 },
    }
}

/// Whole seconds, rounded up. An unused window has no end that the server knows: that of the clock's.
fn until_reset(rule: &Rule, verdict: Verdict) -> i64 {
    let ms = if !verdict.allowed && verdict.retry_after > 0 {
        verdict.retry_after
    } else {
        verdict.reset_after
    };
    if ms > 0 {
        return ms.saturating_add(999) / 1_000;
    }
    let Some(seconds) = rule.unit.seconds() else {
        return 0;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    i64::try_from(seconds - now % seconds).unwrap_or(0)
}

fn count(part: &Part, settings: &Settings) {
    let (Some(stats), Some(Match { rule, .. }), Some(verdict)) =
        (&part.stats, &part.matched, part.verdict)
    else {
        return;
    };
    let hits = part.hits;
    let limit = u64::try_from(verdict.limit).unwrap_or(0);
    let remaining = u64::try_from(verdict.remaining).unwrap_or(0);
    let near = near_limit(limit, settings.near_limit_ratio);
    stats.total_hits.add(hits);
    if verdict.allowed {
        let after = limit.saturating_sub(remaining);
        let before = after.saturating_sub(hits);
        stats.within_limit.add(hits);
        if after > near {
            stats
                .near_limit
                .add(if before >= near { hits } else { after - near });
        }
        return;
    }
    // Denied, and not charged: what was left of the limit would have been near it, the rest is over.
    let left = if part.force { 0 } else { remaining.min(hits) };
    let before = limit.saturating_sub(left);
    stats.over_limit.add(hits - left);
    if left > 0 {
        stats.near_limit.add(limit - near.max(before).min(limit));
    }
    if verdict.cached {
        stats.over_limit_with_local_cache.add(hits);
    }
    if rule.shadow_mode {
        stats.shadow_mode.add(hits - left);
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a statistic's threshold, computed as envoyproxy/ratelimit does; `as` saturates"
)]
fn near_limit(limit: u64, ratio: f32) -> u64 {
    (limit as f32 * ratio).floor() as u64
}

fn headers(names: &Headers, status: &DescriptorStatus) -> Vec<HeaderValue> {
    let header = |key: &str, value: String| HeaderValue {
        key: key.to_owned(),
        value,
        ..HeaderValue::default()
    };
    let limit = status
        .current_limit
        .as_ref()
        .map_or(0, |limit| limit.requests_per_unit);
    let reset = status
        .duration_until_reset
        .as_ref()
        .map_or(0, |reset| reset.seconds);
    vec![
        header(&names.limit, limit.to_string()),
        header(&names.remaining, status.limit_remaining.to_string()),
        header(&names.reset, reset.to_string()),
    ]
}

fn metadata(request: &pb::RateLimitRequest, plan: &Plan, passed: &[usize]) -> Struct {
    let mut fields = vec![("domain", text(request.domain.clone()))];
    let descriptors = request.descriptors.iter().map(|descriptor| {
        let entries = descriptor
            .entries
            .iter()
            .map(|entry| text(format!("{}={}", entry.key, entry.value)))
            .collect();
        let mut fields = vec![("entries", list(entries))];
        if let Some(limit) = &descriptor.limit {
            fields.push((
                "limit",
                text(format!(
                    "requests_per_unit:{} unit:{}",
                    limit.requests_per_unit,
                    unit_name(limit.unit)
                )),
            ));
        }
        if let Some(addend) = &descriptor.hits_addend {
            fields.push(("hitsAddend", number(addend.value)));
        }
        Value {
            kind: Some(Kind::StructValue(fields_of(fields))),
        }
    });
    fields.push(("descriptors", list(descriptors.collect())));
    if request.hits_addend != 0 {
        fields.push(("hitsAddend", number(u64::from(request.hits_addend))));
    }
    let mut merged = Map::new();
    for matched in passed
        .iter()
        .filter_map(|i| plan.parts.get(*i)?.matched.as_ref())
    {
        if let Some(metadata) = &matched.metadata {
            merge(&mut merged, metadata);
        }
    }
    if !merged.is_empty() {
        fields.push(("metadata", json(&Json::Object(merged))));
    }
    fields_of(fields)
}

/// The first to say a thing is kept; maps are merged.
fn merge(into: &mut Map<String, Json>, from: &Map<String, Json>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Json::Object(into)), Json::Object(from)) => merge(into, from),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn unit_name(unit: i32) -> &'static str {
    crate::config::Unit::numbered(unit).map_or("UNKNOWN", crate::config::Unit::name)
}

fn fields_of(fields: Vec<(&str, Value)>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

fn text(text: String) -> Value {
    Value {
        kind: Some(Kind::StringValue(text)),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a number of JSON is a double")]
fn number(n: u64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(n as f64)),
    }
}

fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    }
}

fn json(value: &Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(*truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => return list(items.iter().map(json).collect()),
        Json::Object(map) => Kind::StructValue(Struct {
            fields: map.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
