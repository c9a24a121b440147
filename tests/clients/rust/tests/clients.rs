//! The scenarios, pipelining, MULTI, concurrency and the cluster through the `redis` crate, sync and async, on RESP2 and
//! RESP3.

use ratelimit_client_tests::{from_env, steps};
use redis::aio::MultiplexedConnection;
use redis::{cluster::ClusterClient, AsyncConnectionConfig, Client, Pipeline};
use std::time::Duration;

/// The crate's own, half a second for an answer, is too short for a test on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn client(protocol: &str) -> Client {
    let port = from_env("RATELIMIT_PORT");
    Client::open(format!("redis://127.0.0.1:{port}/?protocol={protocol}")).unwrap()
}

fn cluster(protocol: &str) -> ClusterClient {
    let port = from_env("RATELIMIT_CLUSTER_PORT");
    ClusterClient::builder([format!("redis://127.0.0.1:{port}/?protocol={protocol}")])
        .connection_timeout(PATIENCE)
        .response_timeout(PATIENCE)
        .build()
        .unwrap()
}

async fn multiplexed(client: &Client) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.unwrap()
}

fn hit(key: &str, limit: u64) -> redis::Cmd {
    let mut hit = redis::cmd("RL.FIXED");
    hit.arg(key).arg(limit).arg("3650d");
    hit
}

type Five = (i64, i64, i64, i64, i64);

fn sync_scenarios(protocol: &str) {
    let mut connection = client(protocol).get_connection().unwrap();
    for step in steps(&format!("rust-{protocol}:")) {
        step.check(step.command().query(&mut connection));
    }
}

#[test]
fn sync_resp2_scenarios() {
    sync_scenarios("resp2");
}

#[test]
fn sync_resp3_scenarios() {
    sync_scenarios("resp3");
}

async fn async_scenarios(protocol: &str) {
    let client = client(protocol);
    let mut connection = multiplexed(&client).await;
    for step in steps(&format!("rust-async-{protocol}:")) {
        step.check(step.command().query_async(&mut connection).await);
    }
}

#[tokio::test]
async fn async_resp2_scenarios() {
    async_scenarios("resp2").await;
}

#[tokio::test]
async fn async_resp3_scenarios() {
    async_scenarios("resp3").await;
}

/// Six hits with a limit of 5.
fn six(key: &str) -> Pipeline {
    let mut pipeline = redis::pipe();
    for _ in 0..6 {
        pipeline.add_command(hit(key, 5));
    }
    pipeline
}

fn assert_five_of_six(replies: &[Five]) {
    let seen: Vec<_> = replies.iter().map(|reply| (reply.0, reply.2)).collect();
    assert_eq!(seen, [(1, 4), (1, 3), (1, 2), (1, 1), (1, 0), (0, 0)]);
}

#[test]
fn a_pipeline_is_answered_in_order() {
    for protocol in ["resp2", "resp3"] {
        let mut connection = client(protocol).get_connection().unwrap();
        let replies: Vec<Five> = six(&format!("rust:pipeline:{protocol}"))
            .query(&mut connection)
            .unwrap();
        assert_five_of_six(&replies);
    }
}

#[tokio::test]
async fn multi_brings_a_reply_for_each_command() {
    for protocol in ["resp2", "resp3"] {
        let client = client(protocol);
        let mut connection = multiplexed(&client).await;
        let replies: Vec<Five> = six(&format!("rust:multi:{protocol}"))
            .atomic()
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_five_of_six(&replies);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_connections_admit_the_limit_and_not_one_more() {
    let client = client("resp3");
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let connection = multiplexed(&client).await;
        for _ in 0..40 {
            let mut connection = connection.clone();
            tasks.push(tokio::spawn(async move {
                hit("rust:concurrent", 100)
                    .query_async::<Five>(&mut connection)
                    .await
            }));
        }
    }
    let mut allowed = 0;
    for task in tasks {
        allowed += task.await.unwrap().unwrap().0;
    }
    assert_eq!(allowed, 100);
}

#[test]
fn cluster_sync() {
    for protocol in ["resp2", "resp3"] {
        let mut connection = cluster(protocol).get_connection().unwrap();
        for expected in [1, 0] {
            for key in 0..60 {
                let key = format!("rust-{protocol}:{key}");
                let reply: Five = hit(&key, 1).query(&mut connection).unwrap();
                assert_eq!(reply.0, expected, "{key}");
            }
        }
    }
}

#[tokio::test]
async fn cluster_async() {
    for protocol in ["resp2", "resp3"] {
        let mut connection = cluster(protocol).get_async_connection().await.unwrap();
        for expected in [1, 0] {
            for key in 0..60 {
                let key = format!("rust-async-{protocol}:{key}");
                let reply: Five = hit(&key, 1).query_async(&mut connection).await.unwrap();
                assert_eq!(reply.0, expected, "{key}");
            }
        }
    }
}
