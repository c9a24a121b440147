//! The command table: one row a command. `COMMAND DOCS`, `COMMAND INFO`, redis-cli's hints, ACL categories and the
//! server's own arity check all come from here.

mod arguments;

#[cfg(feature = "probe")]
use super::commands::probe;
use super::commands::{
    all, apply, audit, block, bucket, deny, fixed, info, lease, node, peek, peek_all, policy,
    region, release, sliding, stats, throttle,
};
use super::config;
use super::raw::{callback, keyed, Access, Call, Command, KeySpec, Loading, ROOM};
use crate::core::error::Error;
use arguments::{integer, key, several, string, INTEGER, STRING};
use std::ffi::CStr;

/// The module's own ACL category: of every command but the internal ones.
const CATEGORY: &str = "ratelimit";

/// Registers every command; the error says what the server refused.
pub fn commands(loading: &Loading) -> Result<(), String> {
    let mut table = table();
    if config::has_cl_throttle() {
        // A guess would be wrong either way: the operator has asked for one that applications now do not get, or they would
        // be limited by whichever module came first.
        if loading.has_command("CL.THROTTLE", &[b"key", b"15", b"30", b"60"]) {
            return Err(
                "ratelimit: cl-throttle yes, but another module has CL.THROTTLE: unload that one, or leave cl-throttle out"
                    .to_owned(),
            );
        }
        table.push(cl_throttle());
    }
    loading.add_commands(&table, CATEGORY)
}

// Where memory is full, what is there goes on counting and can be changed: so none of them is `deny-oom`. What would make a
// new key asks for itself: `Call::refuses_new_keys`.
const WRITE: Access = Access::new(c"write fast", "write fast ratelimit");
const READ: Access = Access::new(c"readonly fast", "read fast ratelimit");
const READ_SLOW: Access = Access::new(c"readonly", "read slow ratelimit");
// A cluster's node that is a Redis of before 7.2 reads no key specification that counts keys when it looks for their slot: it
// asks the command.
const WRITE_NUMBERED: Access = Access::new(c"write fast getkeys-api", "write fast ratelimit");
const READ_NUMBERED: Access = Access::new(c"readonly fast getkeys-api", "read fast ratelimit");
const ADMIN_WRITE: Access = Access::new(c"write admin", "admin write slow dangerous ratelimit");
/// Of what tells of keys, lists or policies that the server cannot check: whoever has `+@read` is not to have it, so it is not
/// `readonly`.
const ADMIN: Access = Access::new(c"admin", "admin slow dangerous ratelimit");
/// Of what only the server itself is to send: in no category that an application is given.
const INTERNAL: &str = "admin dangerous";

fn table() -> Vec<Command> {
    vec![
        Command {
            name: "rl.fixed",
            handler: keyed(fixed),
            access: WRITE,
            arity: -4,
            summary: c"Charges a hit to fixed windows, aligned to the Unix epoch or the calendar, if it fits them all.",
            complexity: c"O(N) where N is the number of limits.",
            keys: KeySpec::Updates(1),
            args: || arguments::hit(arguments::window_limit(), false),
        },
        Command {
            name: "rl.sliding",
            handler: keyed(sliding),
            access: WRITE,
            arity: -4,
            summary: c"Charges a hit to sliding windows if it fits them all.",
            complexity: c"O(N) where N is the number of limits; O(M) for a limit whose log of M entries is full.",
            keys: KeySpec::Updates(1),
            args: || arguments::hit(arguments::window_limit(), false),
        },
        Command {
            name: "rl.bucket",
            handler: keyed(bucket),
            access: WRITE,
            arity: -5,
            summary: c"Takes tokens from continuously refilling buckets if they all have enough.",
            complexity: c"O(N) where N is the number of limits.",
            keys: KeySpec::Updates(1),
            args: || arguments::hit(arguments::bucket_limit(), true),
        },
        Command {
            name: "rl.lease",
            handler: keyed(lease),
            access: WRITE,
            arity: -5,
            summary: c"Acquires or renews a lease, if so many units are free: it ends by itself.",
            complexity: c"O(log N) where N is the number of leases on the key.",
            keys: KeySpec::Updates(1),
            args: arguments::lease,
        },
        Command {
            name: "rl.release",
            handler: keyed(release),
            access: WRITE,
            arity: -3,
            summary: c"Gives leases back before they end. Returns how many were held.",
            complexity: c"O(M log N) where M is the number of ids and N the number of leases on the key.",
            keys: KeySpec::Updates(1),
            args: || vec![key(), several("id")],
        },
        Command {
            name: "rl.block",
            handler: keyed(block),
            access: WRITE,
            arity: 3,
            summary: c"Shuts a key for some time, whatever its limits say, or with 0 lifts any block. Returns what is left.",
            complexity: c"O(N) where N is the number of leases on the key; O(1) without.",
            keys: KeySpec::Updates(1),
            args: || vec![key(), string("duration")],
        },
        Command {
            name: "rl.all",
            handler: keyed(all),
            access: WRITE_NUMBERED,
            arity: -6,
            summary: c"Charges several keys, each by a clause of its own, if all of them let the call through; else none.",
            complexity: c"O(N) where N is the number of limits of all clauses.",
            keys: KeySpec::UpdatesNumbered(1),
            args: || arguments::all(true),
        },
        Command {
            name: "rl.peekall",
            handler: keyed(peek_all),
            access: READ_NUMBERED,
            arity: -6,
            summary: c"Answers what RL.ALL would answer now, and changes nothing.",
            complexity: c"O(N) where N is the number of limits of all clauses.",
            keys: KeySpec::ReadsNumbered(1),
            args: || arguments::all(false),
        },
        Command {
            name: "rl.peek",
            handler: keyed(peek),
            access: READ,
            arity: -5,
            summary: c"Answers what RL.FIXED, RL.SLIDING, RL.BUCKET or RL.LEASE would answer now, and changes nothing.",
            complexity: c"O(N) where N is the number of limits, and O(M) for a sliding log of M entries.",
            keys: KeySpec::Reads(2),
            args: arguments::peek,
        },
        Command {
            name: "rl.info",
            handler: keyed(info),
            access: READ,
            arity: 2,
            summary: c"Tells what a rate limiter holds, or nil where there is no key.",
            complexity: c"O(N) where N is the number of limits, and O(M) for a sliding log of M entries.",
            keys: KeySpec::Reads(1),
            args: || vec![key()],
        },
        Command {
            name: "rl.reset",
            handler: keyed(region::reset),
            access: WRITE,
            arity: -2,
            summary: c"Forgets what was used of rate limiters, in all regions. Returns how many there were.",
            complexity: c"O(N) where N is the number of keys.",
            keys: KeySpec::UpdatesAll(1),
            args: || vec![arguments::keys()],
        },
        Command {
            name: "rl.changes",
            handler: keyed(region::changes),
            access: ADMIN,
            arity: -2,
            summary: c"Returns the rate limiters that have changed since a cursor and that the user may read, for other regions.",
            complexity: c"O(N) where N is the count.",
            keys: KeySpec::None,
            args: || vec![string("cursor"), arguments::count()],
        },
        Command {
            name: "rl.merge",
            handler: keyed(region::merge),
            access: Access::new(c"write fast", INTERNAL),
            arity: 3,
            summary: c"Takes over what another region has used of a rate limiter. Returns whether it was news.",
            complexity: c"O(N) where N is the length of the payload.",
            keys: KeySpec::Updates(1),
            args: || vec![key(), string("payload")],
        },
        Command {
            name: "rl.heard",
            handler: callback(region::heard),
            access: Access::new(c"admin fast", INTERNAL),
            arity: -3,
            summary: c"Tells until when everything of another region has been merged here, and everything of others there.",
            complexity: c"O(N) where N is the number of regions.",
            keys: KeySpec::None,
            args: || vec![string("region"), integer("until-ms"), arguments::echoes()],
        },
        container("rl.region", c"The other regions of a rate limiter that several share."),
        Command {
            name: "rl.region|list",
            handler: callback(region::list),
            access: READ_SLOW,
            arity: 2,
            summary: c"Returns the regions that were heard, and what they sent.",
            complexity: c"O(N) where N is the number of regions.",
            keys: KeySpec::None,
            args: Vec::new,
        },
        Command {
            name: "rl.region|forget",
            handler: callback(region::forget),
            access: ADMIN,
            arity: 3,
            summary: c"Forgets a region that is no more, so that no share is kept for it.",
            complexity: c"O(N) where N is the number of regions.",
            keys: KeySpec::None,
            args: || vec![string("region")],
        },
        Command {
            name: "rl.apply",
            handler: keyed(apply),
            access: Access::new(c"write fast", INTERNAL),
            arity: -3,
            summary: c"Internal: carries the state of a rate limiter to replicas, the AOF and other nodes.",
            complexity: c"O(N) where N is the length of the payload.",
            keys: KeySpec::Updates(1),
            args: || vec![key(), string("payload"), arguments::optional("id", STRING, None)],
        },
        Command {
            name: "rl.node",
            handler: callback(node),
            access: Access::new(c"write admin", INTERNAL),
            arity: 2,
            summary: c"Internal: carries policies, deny lists and statistics to replicas and the AOF.",
            complexity: c"O(N) where N is the length of the payload.",
            keys: KeySpec::None,
            args: || vec![string("payload")],
        },
        Command {
            name: ROOM,
            handler: callback(room),
            access: Access::new(c"deny-oom fast", INTERNAL),
            arity: 1,
            summary: c"Internal: answers OK, or OOM where there is no memory for new keys.",
            complexity: c"O(1)",
            keys: KeySpec::None,
            args: Vec::new,
        },
        container(
            "rl.policy",
            c"Limits by name, which go before the limits of a call.",
        ),
        Command {
            name: "rl.policy|set",
            handler: callback(policy::set),
            access: ADMIN_WRITE,
            arity: -6,
            summary: c"Sets the limits of a policy; the next hit that names it goes by them.",
            complexity: c"O(1)",
            keys: KeySpec::None,
            args: || vec![string("name"), arguments::algorithm(), arguments::any_limit(), arguments::ttl()],
        },
        Command {
            name: "rl.policy|shadow",
            handler: callback(policy::shadow),
            access: ADMIN_WRITE,
            arity: -4,
            summary: c"Sets limits that are judged and counted beside a policy and never bind, or takes them away.",
            complexity: c"O(1)",
            keys: KeySpec::None,
            args: || vec![string("name"), arguments::shadow()],
        },
        Command {
            name: "rl.policy|get",
            handler: callback(policy::get),
            access: READ,
            arity: 3,
            summary: c"Returns the algorithm and the limits of a policy, or nil.",
            complexity: c"O(1)",
            keys: KeySpec::None,
            args: || vec![string("name")],
        },
        Command {
            name: "rl.policy|del",
            handler: callback(policy::del),
            access: ADMIN_WRITE,
            arity: -3,
            summary: c"Deletes policies: hits that name them go by their own limits again.",
            complexity: c"O(N) where N is the number of names.",
            keys: KeySpec::None,
            args: || vec![several("name")],
        },
        Command {
            name: "rl.policy|list",
            handler: callback(policy::list),
            access: READ_SLOW,
            arity: 2,
            summary: c"Returns every policy, sorted by name.",
            complexity: c"O(N log N) where N is the number of policies.",
            keys: KeySpec::None,
            args: Vec::new,
        },
        Command {
            name: "rl.policy|scan",
            handler: callback(policy::scan),
            access: READ_SLOW,
            arity: -3,
            summary: c"Iterates over the policies.",
            complexity: c"O(N log N) where N is the number of policies.",
            keys: KeySpec::None,
            args: || vec![integer("cursor"), arguments::count()],
        },
        container(
            "rl.deny",
            c"Lists of addresses, ranges and texts that are denied.",
        ),
        Command {
            name: "rl.deny|add",
            handler: callback(deny::add),
            access: ADMIN_WRITE,
            arity: -4,
            summary: c"Adds addresses, ranges or texts to a deny list, for good or for some time.",
            complexity: c"O(N log N) where N is the number of values.",
            keys: KeySpec::None,
            args: || vec![string("list"), several("value"), arguments::ttl()],
        },
        Command {
            name: "rl.deny|del",
            handler: callback(deny::del),
            access: ADMIN_WRITE,
            arity: -4,
            summary: c"Takes values out of a deny list.",
            complexity: c"O(N) where N is the number of values.",
            keys: KeySpec::None,
            args: || vec![string("list"), several("value")],
        },
        Command {
            name: "rl.deny|has",
            handler: callback(deny::has),
            access: READ,
            arity: -4,
            summary: c"Tells of each value whether a deny list denies it.",
            complexity: c"O(N) where N is the number of values.",
            keys: KeySpec::None,
            args: || vec![string("list"), several("value")],
        },
        Command {
            name: "rl.deny|entries",
            handler: callback(deny::entries),
            access: READ_SLOW,
            arity: -4,
            summary: c"Iterates over the entries of a deny list, by cursor.",
            complexity: c"O(N) where N is the count.",
            keys: KeySpec::None,
            args: || vec![string("list"), integer("cursor"), arguments::count()],
        },
        Command {
            name: "rl.deny|list",
            handler: callback(deny::list),
            access: READ_SLOW,
            arity: 2,
            summary: c"Returns the name of every deny list and how many entries it has.",
            complexity: c"O(N) where N is the number of lists.",
            keys: KeySpec::None,
            args: Vec::new,
        },
        Command {
            name: "rl.deny|rename",
            handler: callback(deny::rename),
            access: ADMIN_WRITE,
            arity: 4,
            summary: c"Renames a deny list, in place of the list that has the name, at once.",
            complexity: c"O(1)",
            keys: KeySpec::None,
            args: || vec![string("list"), string("newlist")],
        },
        Command {
            name: "rl.deny|drop",
            handler: callback(deny::drop_list),
            access: ADMIN_WRITE,
            arity: 3,
            summary: c"Removes a deny list.",
            complexity: c"O(1): what it held is freed little by little.",
            keys: KeySpec::None,
            args: || vec![string("list")],
        },
        container("rl.stats", c"Who was allowed and who was denied."),
        Command {
            name: "rl.stats|get",
            handler: callback(stats::get),
            access: READ_SLOW,
            arity: -2,
            summary: c"Returns who was allowed and who was denied, in total or under a policy's name, by the hour for 8 days and by the day for 90.",
            complexity: c"O(N) where N is the number of names and of identifiers; hours and days are few.",
            keys: KeySpec::None,
            args: || vec![arguments::optional("name", STRING, None)],
        },
        Command {
            name: "rl.stats|reset",
            handler: callback(stats::reset),
            access: ADMIN_WRITE,
            arity: -2,
            summary: c"Forgets all statistics, or those of a policy's name.",
            complexity: c"O(N) where N is the number of names.",
            keys: KeySpec::None,
            args: || vec![arguments::optional("name", STRING, None)],
        },
        Command {
            name: "rl.audit",
            handler: callback(audit),
            access: ADMIN,
            arity: -1,
            summary: c"Returns who has changed policies, deny lists and statistics lately, newest first.",
            complexity: c"O(N) where N is the count.",
            keys: KeySpec::None,
            args: || vec![arguments::count()],
        },
        // Flags, categories and key are those of RL.FIXED, so that the server does the same around it.
        #[cfg(feature = "probe")]
        Command {
            name: "rl.empty",
            handler: callback(probe::empty),
            access: WRITE,
            arity: -2,
            summary: c"For benchmarks, in no release: replies as RL.FIXED does, and does nothing.",
            complexity: c"O(1)",
            keys: KeySpec::Updates(1),
            args: || vec![key(), several("anything")],
        },
        #[cfg(feature = "probe")]
        Command {
            name: "rl.panic",
            handler: callback(probe::panic),
            access: Access::new(c"admin", INTERNAL),
            arity: 1,
            summary: c"For tests, in no release: ends the server by a panic.",
            complexity: c"O(1)",
            keys: KeySpec::None,
            args: Vec::new,
        },
    ]
}

/// Only where an operator asks for it: the name is redis-cell's.
fn cl_throttle() -> Command {
    Command {
        name: "cl.throttle",
        handler: keyed(throttle),
        access: WRITE,
        arity: -5,
        summary: c"redis-cell's command, on a token bucket: replies whether the call is limited, and seconds.",
        complexity: c"O(1)",
        keys: KeySpec::Updates(1),
        args: || {
            let [max_burst, count, period] = ["max_burst", "count", "period"].map(integer);
            let quantity = arguments::optional("quantity", INTEGER, None);
            vec![key(), max_burst, count, period, quantity]
        },
    }
}

/// `RL.ROOM`: that the server has called it is the answer.
fn room(call: &Call) -> Result<(), Error> {
    call.reply_simple(c"OK");
    Ok(())
}

/// What has subcommands and does nothing by itself.
fn container(name: &'static str, summary: &'static CStr) -> Command {
    Command {
        name,
        handler: None,
        access: Access::new(c"", ""),
        arity: -2,
        summary,
        complexity: c"Depends on the subcommand.",
        keys: KeySpec::None,
        args: Vec::new,
    }
}
