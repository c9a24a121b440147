//! Reads `scenarios.json` and holds replies against it.

use redis::{RedisError, Value};
use serde_json::Value as Json;

pub struct Step {
    /// The command's words.
    pub words: Vec<String>,
    expected: Json,
}

/// A variable that scripts/test-clients sets.
pub fn from_env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test-clients"))
}

/// All steps of all scenarios, with `$` replaced by the prefix of one client.
pub fn steps(prefix: &str) -> Vec<Step> {
    let text = std::fs::read_to_string(from_env("RATELIMIT_SCENARIOS")).unwrap();
    let file: Json = serde_json::from_str(&text).unwrap();
    let scenarios = file["scenarios"].as_array().unwrap();
    let steps = scenarios
        .iter()
        .flat_map(|scenario| scenario["steps"].as_array().unwrap());
    steps.map(|step| Step::new(step, prefix)).collect()
}

impl Step {
    fn new(step: &Json, prefix: &str) -> Step {
        let words = step["send"].as_array().unwrap().iter();
        let words = words.map(|word| word.as_str().unwrap().replacen('$', prefix, 1));
        Step {
            words: words.collect(),
            expected: step.clone(),
        }
    }

    pub fn command(&self) -> redis::Cmd {
        let (name, args) = self.words.split_first().unwrap();
        let mut command = redis::cmd(name);
        command.arg(args);
        command
    }

    pub fn check(&self, reply: Result<Value, RedisError>) {
        let said = self.words.join(" ");
        if let Some(start) = self.expected["error"].as_str() {
            let error = reply.expect_err(&said);
            let code = error.code().unwrap_or_default();
            let text = format!("{code} {}", error.detail().unwrap_or_default());
            assert!(text.starts_with(start), "{said}: {text}");
            return;
        }
        let reply = reply.unwrap_or_else(|error| panic!("{said}: {error}"));
        if let Some(map) = self.expected["map"].as_object() {
            let fields = fields(reply);
            for (name, expected) in map {
                let field = fields.iter().find(|(field, _)| text(field) == *name);
                let (_, actual) = field.unwrap_or_else(|| panic!("{said}: no field {name}"));
                compare(actual, expected, &said);
            }
        } else {
            compare(&reply, &self.expected["reply"], &said);
        }
    }
}

/// A map of RESP3, or the flat array of RESP2.
fn fields(reply: Value) -> Vec<(Value, Value)> {
    match reply {
        Value::Map(fields) => fields,
        Value::Array(items) => items
            .chunks_exact(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect(),
        other => panic!("{other:?} is not a map"),
    }
}

fn text(value: &Value) -> String {
    redis::from_redis_value(value.clone()).unwrap()
}

fn compare(actual: &Value, expected: &Json, path: &str) {
    match expected {
        Json::Null => assert_eq!(*actual, Value::Nil, "{path}"),
        Json::Number(number) => assert_eq!(*actual, Value::Int(number.as_i64().unwrap()), "{path}"),
        Json::Array(items) => {
            let Value::Array(values) = actual else {
                panic!("{path}: {actual:?} is not an array")
            };
            assert_eq!(values.len(), items.len(), "{path}: {values:?}");
            for (index, (value, item)) in values.iter().zip(items).enumerate() {
                compare(value, item, &format!("{path}[{index}]"));
            }
        }
        Json::String(expected) => match range(expected) {
            Some(range) => {
                let Value::Int(number) = actual else {
                    panic!("{path}: {actual:?} is not an integer")
                };
                assert!(
                    range.contains(number),
                    "{path}: {number} is not in {expected}"
                );
            }
            None => assert_eq!(text(actual), *expected, "{path}"),
        },
        other => panic!("{path}: {other} is nothing that a reply can be"),
    }
}

/// `1..10000`: any integer from 1 to 10000.
fn range(text: &str) -> Option<std::ops::RangeInclusive<i64>> {
    let (first, last) = text.split_once("..")?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}
