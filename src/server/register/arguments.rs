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

/// One key or more.
pub fn keys() -> Arg {
    arg("key", KEY, None, CommandArgFlags::MULTIPLE, None)
}

/// What a region has had of others.
pub fn echoes() -> Arg {
    let words = vec![string("region"), integer("echo-ms")];
    let flags = CommandArgFlags::OPTIONAL | CommandArgFlags::MULTIPLE;
    arg("echo", BLOCK, None, flags, Some(words))
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
    let names = ["FIXED", "SLIDING", "BUCKET", "LEASE"].map(|name| {
        let flags = CommandArgFlags::NONE;
        arg(&name.to_lowercase(), PURE_TOKEN, Some(name), flags, None)
    });
    let flags = CommandArgFlags::NONE;
    arg("algorithm", ONE_OF, None, flags, Some(names.into()))
}

/// What a shadow tries, or that it tries nothing any more.
pub fn shadow() -> Arg {
    let one = |name: &str, kind: u32, token: Option<&str>, parts: Option<Vec<Arg>>| {
        arg(name, kind, token, CommandArgFlags::NONE, parts)
    };
    let names = ["FIXED", "SLIDING", "BUCKET"];
    let names = names.map(|name| one(&name.to_lowercase(), PURE_TOKEN, Some(name), None));
    let algorithm = one("algorithm", ONE_OF, None, Some(names.into()));
    let ttl = optional("duration", STRING, Some("TTL"));
    let tried = one(
        "tried",
        BLOCK,
        None,
        Some(vec![algorithm, any_limit(), ttl]),
    );
    let off = one("off", PURE_TOKEN, Some("OFF"), None);
    one("shadow", ONE_OF, None, Some(vec![tried, off]))
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
    let keys = arg("key", KEY, None, CommandArgFlags::MULTIPLE, None);
    let clauses = arg(
        "clause",
        BLOCK,
        None,
        CommandArgFlags::MULTIPLE,
        Some(words),
    );
    let mut args = vec![integer("numkeys"), keys, clauses];
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
    let flags = CommandArgFlags::OPTIONAL;
    arg(
        "block",
        BLOCK,
        Some("BLOCK"),
        flags,
        Some(vec![several("duration")]),
    )
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
    let words = vec![string("list"), several("value")];
    arg(
        "deny",
        BLOCK,
        Some("DENY"),
        CommandArgFlags::OPTIONAL,
        Some(words),
    )
}
