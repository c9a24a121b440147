//! The words that `COMMAND DOCS` describes arguments by.

use redis_module::commands::{CommandArgFlags, RedisModuleCommandArg as Arg};
use redis_module::raw;

/// Text, as of a name or a duration.
pub const STRING: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING;
/// A number.
pub const INTEGER: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER;
const KEY: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY;
const PURE_TOKEN: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN;
const ONE_OF: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF;
const BLOCK: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK;

fn arg(
    name: &str,
    kind: u32,
    token: Option<&str>,
    flags: CommandArgFlags,
    parts: Option<Vec<Arg>>,
) -> Arg {
    let key_spec = (kind == KEY).then_some(0);
    let (name, token) = (name.to_owned(), token.map(str::to_owned));
    Arg::new(
        name, kind, key_spec, token, None, None, flags, None, parts, None,
    )
}

/// One that is required.
fn required(name: &str, kind: u32) -> Arg {
    arg(name, kind, None, CommandArgFlags::NONE, None)
}

/// A text that is required.
pub fn string(name: &str) -> Arg {
    required(name, STRING)
}

/// A number that is required.
pub fn integer(name: &str) -> Arg {
    required(name, INTEGER)
}

/// The key.
pub fn key() -> Arg {
    required("key", KEY)
}

/// One or more of a kind.
pub fn several(name: &str) -> Arg {
    arg(name, STRING, None, CommandArgFlags::MULTIPLE, None)
}

/// One that may be left out, behind its token if it has one.
pub fn optional(name: &str, kind: u32, token: Option<&str>) -> Arg {
    arg(name, kind, token, CommandArgFlags::OPTIONAL, None)
}

/// A word that is there or not.
pub fn flag(word: &str) -> Arg {
    optional(&word.to_lowercase(), PURE_TOKEN, Some(word))
}

/// A limit of windows; one or more.
pub fn window_limit() -> Arg {
    limits(vec![integer("limit"), string("window")])
}

/// A limit of buckets; one or more.
pub fn bucket_limit() -> Arg {
    limits(vec![
        integer("capacity"),
        integer("refill"),
        string("interval"),
    ])
}

/// A limit of whichever algorithm: a bucket's has a refill too. One or more.
pub fn any_limit() -> Arg {
    limits(vec![
        integer("limit"),
        optional("refill", INTEGER, None),
        string("window"),
    ])
}

fn limits(words: Vec<Arg>) -> Arg {
    arg("limit", BLOCK, None, CommandArgFlags::MULTIPLE, Some(words))
}

/// The algorithm's name.
pub fn algorithm() -> Arg {
    let names = ["FIXED", "SLIDING", "BUCKET"].map(|name| {
        let flags = CommandArgFlags::NONE;
        arg(&name.to_lowercase(), PURE_TOKEN, Some(name), flags, None)
    });
    let flags = CommandArgFlags::NONE;
    arg("algorithm", ONE_OF, None, flags, Some(names.into()))
}

/// What a hit takes.
pub fn hit(limit: Arg) -> Vec<Arg> {
    let [policy, deny] = look_ups();
    vec![key(), limit, cost(), flag("FORCE"), policy, deny]
}

/// What a peek takes.
pub fn peek() -> Vec<Arg> {
    let [policy, deny] = look_ups();
    vec![algorithm(), key(), any_limit(), cost(), policy, deny]
}

fn cost() -> Arg {
    optional("cost", INTEGER, Some("COST"))
}

/// The clauses that look something up.
fn look_ups() -> [Arg; 2] {
    let words = vec![string("list"), several("value")];
    let flags = CommandArgFlags::OPTIONAL;
    [
        optional("policy", STRING, Some("POLICY")),
        arg("deny", BLOCK, Some("DENY"), flags, Some(words)),
    ]
}
