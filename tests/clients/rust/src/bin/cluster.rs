//! The loop of cluster.py, through the `redis` crate's cluster clients, sync and async.

use ratelimit_client_tests::from_env;
use redis::cluster::ClusterClient;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, RedisResult, Value};
use serde_json::{json, Value as Json};
use std::io::stdin;

/// A command, and where it is to go: by itself the crate would route by the first word, which is the number of keys.
fn read(line: &str) -> (Cmd, RoutingInfo) {
    let call: Json = serde_json::from_str(line).unwrap();
    let mut words = call["words"].as_array().unwrap().iter();
    let mut command = redis::cmd(words.next().unwrap().as_str().unwrap());
    command.arg(words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>());
    let route = Route::with_key(call["key"].as_str().unwrap(), SlotAddr::Master);
    (command, RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route)))
}

fn json_of(value: Value) -> Json {
    match value {
        Value::Int(number) => number.into(),
        Value::Array(items) => items.into_iter().map(json_of).collect(),
        other => format!("{other:?}").into(),
    }
}

fn write(reply: RedisResult<Value>) {
    // On an async connection a routed command's refusal is a value.
    match reply.and_then(Value::extract_error) {
        Ok(reply) => println!("{}", json!({ "reply": json_of(reply) })),
        Err(error) => println!("{}", json!({ "error": error.to_string() })),
    }
}

fn main() {
    let address = format!("redis://127.0.0.1:{}", from_env("RATELIMIT_CLUSTER_PORT"));
    let client = ClusterClient::new([address]).unwrap();
    if std::env::args().nth(1).unwrap() == "redis-rs" {
        let mut connection = client.get_connection().unwrap();
        for line in stdin().lines() {
            let (command, routing) = read(&line.unwrap());
            write(connection.route_command(&command, routing));
        }
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut connection = runtime.block_on(client.get_async_connection()).unwrap();
    for line in stdin().lines() {
        let (command, routing) = read(&line.unwrap());
        write(runtime.block_on(connection.route_command(command, routing)));
    }
}
