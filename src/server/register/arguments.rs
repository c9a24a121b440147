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
fn multiple(name: &str, kind: u32, parts: Option<Vec<Arg>>) -> Arg {
    arg(name, kind, None, CommandArgFlags::MULTIPLE, parts)
}

/// One key or more.
pub fn keys() -> Arg {
    multiple("key", KEY, None)
}

/// One text or more.
pub fn several(name: &str) -> Arg {
    multiple(name, STRING, None)
}

/// One that may be left out, behind its token if it has one.
pub fn optional(name: &str, kind: u32, token: Option<&str>) -> Arg {
    arg(name, kind, token, CommandArgFlags::OPTIONAL, None)
}

/// Several words that may be left out together, behind their token.
fn clause(token: &str, words: Vec<Arg>) -> Arg {
    let (name, flags) = (token.to_lowercase(), CommandArgFlags::OPTIONAL);
    arg(&name, BLOCK, Some(token), flags, Some(words))
}

/// A word that is there or not.
pub fn flag(word: &str) -> Arg {
    optional(&word.to_lowercase(), PURE_TOKEN, Some(word))
}

/// How many are to be listed.
pub fn count() -> Arg {
    optional("count", INTEGER, Some("COUNT"))
}

/// For how long it holds.
pub fn ttl() -> Arg {
    optional("duration", STRING, Some("TTL"))
}

/// What a region has had of others.
pub fn echoes() -> Arg {
    let words = vec![string("region"), integer("echo-ms")];
    let flags = CommandArgFlags::OPTIONAL | CommandArgFlags::MULTIPLE;
    arg("echo", BLOCK, None, flags, Some(words))
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
    multiple("limit", BLOCK, Some(words))
}

/// One of several, which all have a word or several of their own.
fn one_of(name: &str, parts: Vec<Arg>) -> Arg {
    arg(name, ONE_OF, None, CommandArgFlags::NONE, Some(parts))
}

/// One of several words.
fn word(word: &str) -> Arg {
    let (name, flags) = (word.to_lowercase(), CommandArgFlags::NONE);
    arg(&name, PURE_TOKEN, Some(word), flags, None)
}

/// The algorithm's name.
pub fn algorithm() -> Arg {
    let words = ["FIXED", "SLIDING", "BUCKET", "LEASE"].map(word);
    one_of("algorithm", words.into())
}

/// What a shadow tries, or that it tries nothing any more.
pub fn shadow() -> Arg {
    let words = ["FIXED", "SLIDING", "BUCKET"].map(word);
    let words = vec![one_of("algorithm", words.into()), any_limit(), ttl()];
    let tried = arg("tried", BLOCK, None, CommandArgFlags::NONE, Some(words));
    one_of("shadow", vec![tried, word("OFF")])
}

/// What a hit takes: of a bucket, also the longest wait to reserve for.
pub fn hit(limit: Arg, is_bucket: bool) -> Vec<Arg> {
    let mut args = vec![key(), limit, cost(), optional("min", INTEGER, Some("MIN"))];
    args.extend(call_options());
    if is_bucket {
        args.push(optional("max-wait", STRING, Some("RESERVE")));
    }
    args.extend([block(), policy(), deny()]);
    args
}

/// What a lease takes.
pub fn lease() -> Vec<Arg> {
    let words = [integer("limit"), string("ttl"), string("id")];
    let mut args = vec![key()];
    args.extend(words);
    args.extend([cost(), flag("NEXT"), policy(), deny()]);
    args
}

/// What a peek takes: of a lease, also its id.
pub fn peek() -> Vec<Arg> {
    let min = optional("min", INTEGER, Some("MIN"));
    let id = optional("id", STRING, None);
    vec![
        algorithm(),
        key(),
        any_limit(),
        id,
        cost(),
        min,
        flag("NEXT"),
        block(),
        policy(),
        deny(),
    ]
}

/// What a call of several keys takes.
pub fn all(charges: bool) -> Vec<Arg> {
    let words = vec![
        algorithm(),
        any_limit(),
        optional("id", STRING, None),
        cost(),
        policy(),
        block(),
        flag("SHADOW"),
    ];
    let clauses = multiple("clause", BLOCK, Some(words));
    let mut args = vec![integer("numkeys"), keys(), clauses];
    if charges {
        args.extend(call_options());
    } else {
        args.push(flag("NEXT"));
    }
    args.push(deny());
    args
}

/// What is said of a whole call that charges.
fn call_options() -> [Arg; 5] {
    [
        flag("FORCE"),
        optional("unix-ms", INTEGER, Some("AT")),
        flag("STAMP"),
        optional("hit-id", STRING, Some("ID")),
        flag("NEXT"),
    ]
}

fn block() -> Arg {
    clause("BLOCK", vec![several("duration")])
}

fn cost() -> Arg {
    optional("cost", INTEGER, Some("COST"))
}

/// Up to four names, each behind its token.
fn policy() -> Arg {
    let flags =
        CommandArgFlags::OPTIONAL | CommandArgFlags::MULTIPLE | CommandArgFlags::MULTIPLE_TOKEN;
    arg("policy", STRING, Some("POLICY"), flags, None)
}

fn deny() -> Arg {
    clause("DENY", vec![string("list"), several("value")])
}
