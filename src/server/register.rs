//! The command table: one row a command. `COMMAND DOCS`, `COMMAND INFO`, redis-cli's hints, ACL categories and the
//! server's own arity check all come from here.

#[cfg(feature = "probe")]
use super::commands::probe;
use super::commands::{apply, bucket, deny, fixed, info, node, peek, policy, sliding, stats};
use super::raw::{callback, Callback, OK};
use redis_module::commands::{
    get_redis_command_args, get_redis_key_spec, BeginSearch, CommandArgFlags, FindKeys, KeySpec,
    KeySpecFlags, RedisModuleCommandArg,
};
use redis_module::{raw, Context};
use std::ffi::{c_char, c_int, CStr, CString};
use std::ptr;

/// The ACL category of every command of the module, where the server lets a module have one.
const CATEGORY: &CStr = c"ratelimit";

struct Command {
    /// Behind a bar, the name of a subcommand.
    name: &'static str,
    handler: Callback,
    /// The server's own flags, separated by spaces.
    flags: &'static CStr,
    /// ACL categories: a server gives a module's commands none by itself.
    categories: &'static str,
    /// As in COMMAND INFO: at least so many words where negative.
    arity: c_int,
    summary: &'static CStr,
    complexity: &'static CStr,
    key: Key,
    args: fn() -> Vec<RedisModuleCommandArg>,
}

/// The place of a command's key, and what is done with it.
enum Key {
    None,
    Reads(c_int),
    Updates(c_int),
}

/// What has subcommands and does nothing by itself.
const CONTAINERS: [(&CStr, &CStr); 3] = [
    (
        c"rl.policy",
        c"Limits by name, which go before the limits of a call.",
    ),
    (
        c"rl.deny",
        c"Lists of addresses, ranges and texts that are denied.",
    ),
    (c"rl.stats", c"Who was allowed and who was denied."),
];

const WRITE: &CStr = c"write deny-oom fast";
const READ: &CStr = c"readonly fast";
/// Without `deny-oom`: what is for administrators has bounds of its own, and is needed most when memory is full.
const ADMIN_WRITE: &CStr = c"write admin";
const ADMIN: &str = "admin write slow dangerous";
const READ_SLOW: &CStr = c"readonly";

const ROWS: usize = if cfg!(feature = "probe") { 22 } else { 20 };

fn table() -> [Command; ROWS] {
    [
        Command {
            name: "rl.fixed",
            handler: callback(fixed),
            flags: WRITE,
            categories: "write fast",
            arity: -4,
            summary: c"Charges a hit to fixed windows, aligned to the Unix epoch, if it fits them all.",
            complexity: c"O(N) where N is the number of limits.",
            key: Key::Updates(1),
            args: || hit_args(window_limit()),
        },
        Command {
            name: "rl.sliding",
            handler: callback(sliding),
            flags: WRITE,
            categories: "write fast",
            arity: -4,
            summary: c"Charges a hit to sliding windows if it fits them all.",
            complexity: c"O(N) where N is the number of limits; O(M) for a limit whose log of M entries is full.",
            key: Key::Updates(1),
            args: || hit_args(window_limit()),
        },
        Command {
            name: "rl.bucket",
            handler: callback(bucket),
            flags: WRITE,
            categories: "write fast",
            arity: -5,
            summary: c"Takes tokens from continuously refilling buckets if they all have enough.",
            complexity: c"O(N) where N is the number of limits.",
            key: Key::Updates(1),
            args: || hit_args(bucket_limit()),
        },
        Command {
            name: "rl.peek",
            handler: callback(peek),
            flags: READ,
            categories: "read fast",
            arity: -5,
            summary: c"Answers what RL.FIXED, RL.SLIDING or RL.BUCKET would answer now, and changes nothing.",
            complexity: c"O(N) where N is the number of limits, and O(M) for a sliding log of M entries.",
            key: Key::Reads(2),
            args: peek_args,
        },
        Command {
            name: "rl.info",
            handler: callback(info),
            flags: READ,
            categories: "read fast",
            arity: 2,
            summary: c"Tells what a rate limiter holds, or nil where there is no key.",
            complexity: c"O(N) where N is the number of limits, and O(M) for a sliding log of M entries.",
            key: Key::Reads(1),
            args: || vec![key_arg()],
        },
        Command {
            name: "rl.apply",
            handler: callback(apply),
            flags: WRITE,
            categories: "write fast dangerous",
            arity: 3,
            summary: c"Internal: carries the state of a rate limiter to replicas, the AOF and other nodes.",
            complexity: c"O(N) where N is the length of the payload.",
            key: Key::Updates(1),
            args: || vec![key_arg(), arg("payload", STRING)],
        },
        Command {
            name: "rl.node",
            handler: callback(node),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: 2,
            summary: c"Internal: carries policies, deny lists and statistics to replicas and the AOF.",
            complexity: c"O(N) where N is the length of the payload.",
            key: Key::None,
            args: || vec![arg("payload", STRING)],
        },
        Command {
            name: "rl.policy|set",
            handler: callback(policy::set),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: -6,
            summary: c"Sets the limits of a policy; the next hit that names it goes by them.",
            complexity: c"O(1)",
            key: Key::None,
            args: || {
                let flags = CommandArgFlags::OPTIONAL;
                let ttl = full_arg("duration", STRING, Some("TTL"), flags, None);
                vec![arg("name", STRING), algorithm_arg(), any_limit(), ttl]
            },
        },
        Command {
            name: "rl.policy|get",
            handler: callback(policy::get),
            flags: READ,
            categories: "read fast",
            arity: 3,
            summary: c"Returns the algorithm and the limits of a policy, or nil.",
            complexity: c"O(1)",
            key: Key::None,
            args: || vec![arg("name", STRING)],
        },
        Command {
            name: "rl.policy|del",
            handler: callback(policy::del),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: -3,
            summary: c"Deletes policies: hits that name them go by their own limits again.",
            complexity: c"O(N) where N is the number of names.",
            key: Key::None,
            args: || vec![several("name")],
        },
        Command {
            name: "rl.policy|list",
            handler: callback(policy::list),
            flags: READ_SLOW,
            categories: "read slow",
            arity: 2,
            summary: c"Returns every policy, sorted by name.",
            complexity: c"O(N log N) where N is the number of policies.",
            key: Key::None,
            args: Vec::new,
        },
        Command {
            name: "rl.deny|add",
            handler: callback(deny::add),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: -4,
            summary: c"Adds addresses, ranges or texts to a deny list, for good or for some time.",
            complexity: c"O(N log N) where N is the number of values.",
            key: Key::None,
            args: || {
                let flags = CommandArgFlags::OPTIONAL;
                let ttl = full_arg("duration", STRING, Some("TTL"), flags, None);
                vec![arg("list", STRING), several("value"), ttl]
            },
        },
        Command {
            name: "rl.deny|del",
            handler: callback(deny::del),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: -4,
            summary: c"Takes values out of a deny list.",
            complexity: c"O(N) where N is the number of values.",
            key: Key::None,
            args: || vec![arg("list", STRING), several("value")],
        },
        Command {
            name: "rl.deny|has",
            handler: callback(deny::has),
            flags: READ,
            categories: "read fast",
            arity: -4,
            summary: c"Tells of each value whether a deny list denies it.",
            complexity: c"O(N) where N is the number of values.",
            key: Key::None,
            args: || vec![arg("list", STRING), several("value")],
        },
        Command {
            name: "rl.deny|entries",
            handler: callback(deny::entries),
            flags: READ_SLOW,
            categories: "read slow",
            arity: -4,
            summary: c"Iterates over the entries of a deny list, by cursor.",
            complexity: c"O(N) where N is the count.",
            key: Key::None,
            args: || {
                let flags = CommandArgFlags::OPTIONAL;
                let count = full_arg("count", INTEGER, Some("COUNT"), flags, None);
                vec![arg("list", STRING), arg("cursor", INTEGER), count]
            },
        },
        Command {
            name: "rl.deny|list",
            handler: callback(deny::list),
            flags: READ_SLOW,
            categories: "read slow",
            arity: 2,
            summary: c"Returns the name of every deny list and how many entries it has.",
            complexity: c"O(N) where N is the number of lists.",
            key: Key::None,
            args: Vec::new,
        },
        Command {
            name: "rl.deny|rename",
            handler: callback(deny::rename),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: 4,
            summary: c"Renames a deny list, in place of the list that has the name, at once.",
            complexity: c"O(1)",
            key: Key::None,
            args: || vec![arg("list", STRING), arg("newlist", STRING)],
        },
        Command {
            name: "rl.deny|drop",
            handler: callback(deny::drop_list),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: 3,
            summary: c"Removes a deny list.",
            complexity: c"O(1): what it held is freed little by little.",
            key: Key::None,
            args: || vec![arg("list", STRING)],
        },
        Command {
            name: "rl.stats|get",
            handler: callback(stats::get),
            flags: READ_SLOW,
            categories: "read slow",
            arity: -2,
            summary: c"Returns who was allowed and who was denied, in total or under a policy's name.",
            complexity: c"O(N) where N is the number of hours with traffic, of names and of identifiers.",
            key: Key::None,
            args: optional_name,
        },
        Command {
            name: "rl.stats|reset",
            handler: callback(stats::reset),
            flags: ADMIN_WRITE,
            categories: ADMIN,
            arity: -2,
            summary: c"Forgets all statistics, or those of a policy's name.",
            complexity: c"O(N) where N is the number of names.",
            key: Key::None,
            args: optional_name,
        },
        // Flags, categories and key are those of RL.FIXED, so that the server does the same around it.
        #[cfg(feature = "probe")]
        Command {
            name: "rl.empty",
            handler: callback(probe::empty),
            flags: WRITE,
            categories: "write fast",
            arity: -2,
            summary: c"For benchmarks, in no release: replies as RL.FIXED does, and does nothing.",
            complexity: c"O(1)",
            key: Key::Updates(1),
            args: || vec![key_arg(), several("anything")],
        },
        #[cfg(feature = "probe")]
        Command {
            name: "rl.panic",
            handler: callback(probe::panic),
            flags: c"admin",
            categories: "admin slow dangerous",
            arity: 1,
            summary: c"For tests, in no release: ends the server by a panic.",
            complexity: c"O(1)",
            key: Key::None,
            args: Vec::new,
        },
    ]
}

/// Registers every command; the error says what the server refused.
pub fn commands(ctx: &Context) -> Result<(), String> {
    // SAFETY: the server filled in the pointer, if it has the function, before it called us.
    if unsafe { raw::RedisModule_SetCommandInfo }.is_none() {
        return Err("ratelimit needs Redis 7.0 or newer, or Valkey".to_owned());
    }
    let has_category = add_category(ctx);
    for (name, summary) in CONTAINERS {
        // SAFETY: called while the module is being loaded; the strings are static.
        let created = unsafe {
            raw::RedisModule_CreateCommand.is_some_and(|create| {
                create(ctx.ctx, name.as_ptr(), None, c"".as_ptr(), 0, 0, 0) == OK
            })
        };
        let container = named(ctx, name);
        let info = Documentation {
            summary,
            complexity: c"Depends on the subcommand.",
            arity: -2,
            key: &Key::None,
            args: Vec::new(),
        };
        // SAFETY: as above.
        if !created || !unsafe { info.set(container) } {
            return Err(format!(
                "ratelimit: the server refused the command {}",
                name.to_string_lossy()
            ));
        }
    }
    table()
        .iter()
        .try_for_each(|command| command.register(ctx, has_category))
}

/// A command that has been created; null where there is none of that name.
fn named(ctx: &Context, name: &CStr) -> *mut raw::RedisModuleCommand {
    // SAFETY: called while the module is being loaded; the name lives past the call.
    unsafe {
        raw::RedisModule_GetCommand.map_or(ptr::null_mut(), |get| get(ctx.ctx, name.as_ptr()))
    }
}

/// Adds the module's own ACL category, from Redis 7.4 and Valkey 8 on.
fn add_category(ctx: &Context) -> bool {
    // SAFETY: called while the module is being loaded, as the function demands.
    unsafe {
        raw::RedisModule_AddACLCategory.is_some_and(|add| add(ctx.ctx, CATEGORY.as_ptr()) == OK)
    }
}

impl Command {
    fn register(&self, ctx: &Context, has_category: bool) -> Result<(), String> {
        let refused = |what: &str| {
            Err(format!(
                "ratelimit: the server refused {what} of {}",
                self.name
            ))
        };
        let (key, step) = match self.key {
            Key::None => (0, 0),
            Key::Reads(key) | Key::Updates(key) => (key, 1),
        };
        let name = CString::new(self.name).unwrap_or_default();
        let created = match self.name.split_once('|') {
            None => raw_create(ctx, &name, self, key, step),
            Some((container, subcommand)) => {
                let container = CString::new(container).unwrap_or_default();
                let subcommand = CString::new(subcommand).unwrap_or_default();
                raw_create_subcommand(named(ctx, &container), &subcommand, self)
            }
        };
        if !created {
            return refused("the name or flags");
        }
        let command = named(ctx, &name);
        let documentation = Documentation {
            summary: self.summary,
            complexity: self.complexity,
            arity: self.arity,
            key: &self.key,
            args: (self.args)(),
        };
        // SAFETY: it is this command's, and the module is being loaded.
        unsafe {
            if !documentation.set(command) {
                return refused("the documentation");
            }
            if !self.categorise(command, has_category) {
                return refused("the ACL categories");
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`Documentation::set`]'s.
    unsafe fn categorise(&self, command: *mut raw::RedisModuleCommand, has_category: bool) -> bool {
        // SAFETY: the server filled in the pointer, if it has the function (Redis 7.2, Valkey), before it called us.
        let Some(set) = (unsafe { raw::RedisModule_SetCommandACLCategories }) else {
            return true;
        };
        let mut categories = self.categories.to_owned();
        if has_category {
            categories.push(' ');
            categories.push_str(&CATEGORY.to_string_lossy());
        }
        let categories = CString::new(categories).unwrap_or_default();
        // SAFETY: by the caller's promise; the text lives past the call.
        unsafe { set(command, categories.as_ptr().cast::<c_char>()) == OK }
    }
}

fn raw_create(ctx: &Context, name: &CStr, command: &Command, key: c_int, step: c_int) -> bool {
    // SAFETY: called while the module is being loaded; the strings live past the call, which copies them.
    unsafe {
        raw::RedisModule_CreateCommand.is_some_and(|create| {
            let (handler, flags) = (Some(command.handler as _), command.flags.as_ptr());
            create(ctx.ctx, name.as_ptr(), handler, flags, key, key, step) == OK
        })
    }
}

fn raw_create_subcommand(
    container: *mut raw::RedisModuleCommand,
    name: &CStr,
    command: &Command,
) -> bool {
    // SAFETY: as above; `container` has been created.
    unsafe {
        raw::RedisModule_CreateSubcommand.is_some_and(|create| {
            let (handler, flags) = (Some(command.handler as _), command.flags.as_ptr());
            create(container, name.as_ptr(), handler, flags, 0, 0, 0) == OK
        })
    }
}

/// What COMMAND DOCS says of a command, and where its key is.
struct Documentation<'a> {
    summary: &'static CStr,
    complexity: &'static CStr,
    arity: c_int,
    key: &'a Key,
    args: Vec<RedisModuleCommandArg>,
}

impl Documentation<'_> {
    /// # Safety
    /// 1. `command` has been created, and the module is being loaded.
    unsafe fn set(self, command: *mut raw::RedisModuleCommand) -> bool {
        static VERSION: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
            version: 1,
            sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
            sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
            sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
        };
        let reads = KeySpecFlags::READ_ONLY | KeySpecFlags::ACCESS;
        let updates = KeySpecFlags::READ_WRITE | KeySpecFlags::ACCESS | KeySpecFlags::UPDATE;
        let spec = |key: c_int, access| {
            let (begin, find) = (BeginSearch::new_index(key), FindKeys::new_range(0, 1, 0));
            vec![KeySpec::new(None, access, begin, find)]
        };
        let mut key_specs = get_redis_key_spec(match self.key {
            Key::None => Vec::new(),
            Key::Reads(key) => spec(*key, reads),
            Key::Updates(key) => spec(*key, updates),
        });
        let args = get_redis_command_args(self.args);
        let mut info = raw::RedisModuleCommandInfo {
            version: &raw const VERSION,
            summary: self.summary.as_ptr(),
            complexity: self.complexity.as_ptr(),
            since: SINCE.as_ptr(),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: self.arity,
            key_specs: key_specs.as_mut_ptr(),
            args: args.map_or(ptr::null_mut(), |args| args.leak().as_mut_ptr()),
        };
        // SAFETY: by 1; the server copies what it is given. (The arguments' descriptions are not freed afterwards: some
        // kilobytes, once.)
        unsafe {
            raw::RedisModule_SetCommandInfo.is_some_and(|set| set(command, &raw mut info) == OK)
        }
    }
}

const SINCE: &CStr = c"0.1.0";

/// A required argument.
fn arg(name: &str, kind: u32) -> RedisModuleCommandArg {
    full_arg(name, kind, None, CommandArgFlags::NONE, None)
}

fn full_arg(
    name: &str,
    kind: u32,
    token: Option<&str>,
    flags: CommandArgFlags,
    subargs: Option<Vec<RedisModuleCommandArg>>,
) -> RedisModuleCommandArg {
    RedisModuleCommandArg::new(
        name.to_owned(),
        kind,
        None,
        token.map(str::to_owned),
        None,
        None,
        flags,
        None,
        subargs,
        None,
    )
}

const STRING: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING;
const INTEGER: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER;
const PURE_TOKEN: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN;
const ONE_OF: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF;
const BLOCK: u32 = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK;

fn key_arg() -> RedisModuleCommandArg {
    RedisModuleCommandArg::new(
        "key".to_owned(),
        raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
        Some(0),
        None,
        None,
        None,
        CommandArgFlags::NONE,
        None,
        None,
        None,
    )
}

fn block(name: &str, words: Vec<RedisModuleCommandArg>) -> RedisModuleCommandArg {
    full_arg(name, BLOCK, None, CommandArgFlags::MULTIPLE, Some(words))
}

fn window_limit() -> RedisModuleCommandArg {
    block("limit", vec![arg("limit", INTEGER), arg("window", STRING)])
}

fn bucket_limit() -> RedisModuleCommandArg {
    let words = vec![
        arg("capacity", INTEGER),
        arg("refill", INTEGER),
        arg("interval", STRING),
    ];
    block("limit", words)
}

fn hit_args(limit: RedisModuleCommandArg) -> Vec<RedisModuleCommandArg> {
    let force = full_arg(
        "force",
        PURE_TOKEN,
        Some("FORCE"),
        CommandArgFlags::OPTIONAL,
        None,
    );
    let mut args = vec![key_arg(), limit, cost_arg(), force];
    args.extend(lookup_args());
    args
}

fn peek_args() -> Vec<RedisModuleCommandArg> {
    let mut args = vec![algorithm_arg(), key_arg(), any_limit(), cost_arg()];
    args.extend(lookup_args());
    args
}

fn algorithm_arg() -> RedisModuleCommandArg {
    let algorithms = ["FIXED", "SLIDING", "BUCKET"].map(|name| {
        let flags = CommandArgFlags::NONE;
        full_arg(&name.to_lowercase(), PURE_TOKEN, Some(name), flags, None)
    });
    let flags = CommandArgFlags::NONE;
    full_arg("algorithm", ONE_OF, None, flags, Some(algorithms.into()))
}

/// A limit of whichever algorithm: a bucket's has a refill too.
fn any_limit() -> RedisModuleCommandArg {
    let refill = full_arg("refill", INTEGER, None, CommandArgFlags::OPTIONAL, None);
    let words = vec![arg("limit", INTEGER), refill, arg("window", STRING)];
    block("limit", words)
}

/// One or more of a kind.
fn several(name: &str) -> RedisModuleCommandArg {
    full_arg(name, STRING, None, CommandArgFlags::MULTIPLE, None)
}

fn optional_name() -> Vec<RedisModuleCommandArg> {
    let flags = CommandArgFlags::OPTIONAL;
    vec![full_arg("name", STRING, None, flags, None)]
}

/// The clauses that look something up.
fn lookup_args() -> [RedisModuleCommandArg; 2] {
    let flags = CommandArgFlags::OPTIONAL;
    let policy = full_arg("policy", STRING, Some("POLICY"), flags, None);
    let words = vec![arg("list", STRING), several("value")];
    let flags = CommandArgFlags::OPTIONAL;
    let deny = full_arg("deny", BLOCK, Some("DENY"), flags, Some(words));
    [policy, deny]
}

fn cost_arg() -> RedisModuleCommandArg {
    let flags = CommandArgFlags::OPTIONAL;
    full_arg("cost", INTEGER, Some("COST"), flags, None)
}
