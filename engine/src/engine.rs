//! An engine: its keys, what belongs to it and to no key, and the commands that it knows.

use crate::core::error::Error;
use crate::core::limit::{Algorithm, MAX_TIME_MS};
use crate::core::node::Node;
use crate::server::raw::{write_error, Call, Keys};
use crate::server::{commands, registry};
use crate::store::Store;
use std::cell::RefCell;

/// How many keys an engine keeps unless its maker says otherwise.
pub const DEFAULT_MAX_KEYS: usize = 100_000;

/// The longest name of a key, in bytes. (A server takes names of 512 MB; here, the names are what memory is bounded by.)
pub const MAX_NAME_BYTES: usize = 4_096;

/// How an engine is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most keys that it keeps.
    pub max_keys: usize,
    /// For the hashing of its tables: random, so that no caller can tell which of its words collide.
    pub seeds: [u64; 4],
}

impl Default for Options {
    fn default() -> Self {
        use std::hash::BuildHasher;
        let system = std::hash::RandomState::new();
        Self {
            max_keys: DEFAULT_MAX_KEYS,
            seeds: [0_u8, 1, 2, 3].map(|index| system.hash_one(index)),
        }
    }
}

/// The module's commands on keys of its own. It keeps to the thread that made it.
#[derive(Debug)]
pub struct Engine {
    store: RefCell<Store>,
    node: Option<Box<Node>>,
    reply: RefCell<Vec<u8>>,
}

/// What a reply's buffer keeps of its size from one call to the next.
const KEPT_REPLY_BYTES: usize = 1 << 16;

impl Engine {
    /// One that holds nothing.
    pub fn new(options: Options) -> Self {
        Self {
            store: RefCell::new(Store::new(options.max_keys, options.seeds)),
            node: Some(Box::new(registry::new_node(options.seeds))),
            reply: RefCell::default(),
        }
    }

    /// Runs a command, its name and its arguments, at that time (Unix milliseconds). The reply as a server's in RESP2, whose
    /// errors are replies too.
    pub fn call(&mut self, words: &[&[u8]], now_ms: u64) -> &[u8] {
        let reply = self.reply.get_mut();
        reply.clear();
        reply.shrink_to(KEPT_REPLY_BYTES);
        if now_ms > MAX_TIME_MS {
            let refusal =
                "ERR the clock says no time: expected Unix milliseconds, at most 2^53 - 1";
            write_error(reply, refusal);
        } else {
            self.store.get_mut().begin(now_ms);
            self.node = registry::lend(self.node.take(), now_ms, || {
                run(&self.store, &self.reply, words);
            });
        }
        self.reply.get_mut()
    }

    /// How many keys there are, those that have expired and are still there among them.
    pub fn keys(&self) -> usize {
        self.store.borrow().len()
    }
}

/// Where the keys of a command are.
#[derive(Clone, Copy)]
enum KeysAt {
    Nowhere,
    /// This argument.
    One(usize),
    /// From this argument on.
    From(usize),
    /// This argument says how many follow.
    Numbered(usize),
}

impl KeysAt {
    fn of<'a>(self, words: &'a [&'a [u8]]) -> &'a [&'a [u8]] {
        let (first, count) = match self {
            Nowhere => return &[],
            One(at) => (at, 1),
            From(at) => (at, words.len().saturating_sub(at)),
            Numbered(at) => {
                let behind = words.get(at..).unwrap_or_default();
                let count = crate::core::request::numkeys(behind).unwrap_or(0);
                (at + 1, count)
            }
        };
        let behind = words.get(first..).unwrap_or_default();
        behind.get(..count).unwrap_or(behind)
    }
}

/// What runs a command.
#[derive(Clone, Copy)]
enum Handler {
    /// One that opens keys.
    Keyed(fn(&Call, &mut Keys) -> Result<(), Error>),
    /// A hit by this algorithm.
    Hit(Algorithm),
    /// One that opens none.
    Plain(fn(&Call) -> Result<(), Error>),
    /// One of the server's own.
    Own(fn(&Call, &RefCell<Store>)),
    /// Its subcommands do.
    Container(&'static [Command]),
}

/// A command: its name, its arity as in COMMAND INFO, where its keys are, what runs it.
struct Command(&'static str, isize, KeysAt, Handler);

use Handler::{Container, Hit, Keyed, Own, Plain};
use KeysAt::{From, Nowhere, Numbered, One};

/// As in the module's `register`, of which `tests/engine.rs` asks each arity.
static COMMANDS: &[Command] = &[
    Command("rl.fixed", -4, One(1), Hit(Algorithm::Fixed)),
    Command("rl.sliding", -4, One(1), Hit(Algorithm::Sliding)),
    Command("rl.bucket", -5, One(1), Hit(Algorithm::Bucket)),
    Command("rl.lease", -5, One(1), Hit(Algorithm::Lease)),
    Command("rl.release", -3, One(1), Keyed(commands::release)),
    Command("rl.block", 3, One(1), Keyed(commands::block)),
    Command("rl.all", -6, Numbered(1), Keyed(commands::all)),
    Command("rl.peekall", -6, Numbered(1), Keyed(commands::peek_all)),
    Command("rl.peek", -5, One(2), Keyed(commands::peek)),
    Command("rl.info", 2, One(1), Keyed(commands::info)),
    Command("rl.policy", -2, Nowhere, Container(POLICY)),
    Command("rl.deny", -2, Nowhere, Container(DENY)),
    Command("rl.stats", -2, Nowhere, Container(STATS)),
    Command("del", -2, From(1), Own(delete)),
    Command("unlink", -2, From(1), Own(delete)),
    Command("exists", -2, From(1), Own(exists)),
    Command("pttl", 2, One(1), Own(pttl)),
    Command("ping", 1, Nowhere, Own(ping)),
];

static POLICY: &[Command] = &[
    Command("set", -6, Nowhere, Plain(commands::policy::set)),
    Command("shadow", -4, Nowhere, Plain(commands::policy::shadow)),
    Command("get", 3, Nowhere, Plain(commands::policy::get)),
    Command("del", -3, Nowhere, Plain(commands::policy::del)),
    Command("list", 2, Nowhere, Plain(commands::policy::list)),
    Command("scan", -3, Nowhere, Plain(commands::policy::scan)),
];

static DENY: &[Command] = &[
    Command("add", -4, Nowhere, Plain(commands::deny::add)),
    Command("del", -4, Nowhere, Plain(commands::deny::del)),
    Command("has", -4, Nowhere, Plain(commands::deny::has)),
    Command("entries", -4, Nowhere, Plain(commands::deny::entries)),
    Command("list", 2, Nowhere, Plain(commands::deny::list)),
    Command("rename", 4, Nowhere, Plain(commands::deny::rename)),
    Command("drop", 3, Nowhere, Plain(commands::deny::drop_list)),
];

static STATS: &[Command] = &[
    Command("get", -2, Nowhere, Plain(commands::stats::get)),
    Command("reset", -2, Nowhere, Plain(commands::stats::reset)),
];

fn named<'a>(commands: &'a [Command], name: &[u8]) -> Option<&'a Command> {
    let is = |command: &&Command| command.0.as_bytes().eq_ignore_ascii_case(name);
    commands.iter().find(is)
}

impl Command {
    fn takes(&self, words: &[&[u8]]) -> bool {
        let least = self.1.unsigned_abs();
        words.len() == least || self.1 < 0 && words.len() > least
    }
}

fn run(store: &RefCell<Store>, reply: &RefCell<Vec<u8>>, words: &[&[u8]]) {
    let refuse = |text: &str| write_error(&mut reply.borrow_mut(), text);
    let name = words.first().copied().unwrap_or_default();
    let Some(command) = named(COMMANDS, name) else {
        return refuse(&unknown(name, words));
    };
    let mut found = command;
    let mut full_name = command.0.to_owned();
    if let (Container(subcommands), Some(name)) = (command.3, words.get(1)) {
        let Some(subcommand) = named(subcommands, name) else {
            let (name, container) = (text(name, 128), command.0.to_ascii_uppercase());
            return refuse(&format!(
                "ERR unknown subcommand '{name}'. Try {container} HELP."
            ));
        };
        found = subcommand;
        full_name = format!("{full_name}|{}", subcommand.0);
    }
    if !found.takes(words) {
        return refuse(&format!(
            "ERR wrong number of arguments for '{full_name}' command"
        ));
    }
    let keys = found.2.of(words);
    if keys.iter().any(|name| name.len() > MAX_NAME_BYTES) {
        return refuse(&format!(
            "ERR a key's name has more than {MAX_NAME_BYTES} bytes, the most that the engine in a process of its own takes"
        ));
    }
    let call = Call::new(words, keys, reply, store);
    let done = match found.3 {
        Keyed(run) => run(&call, &mut call.keys()),
        Hit(algorithm) => commands::hit(&call, &mut call.keys(), algorithm),
        Plain(run) => run(&call),
        Own(run) => {
            run(&call, store);
            Ok(())
        }
        Container(_) => Ok(()), // its arity asks for a subcommand
    };
    match done {
        Ok(()) => {}
        Err(Error::OutOfMemory) => refuse(&format!(
            "OOM a new key is not allowed: there are {} keys, the most that there may be (maxKeys), and none has expired",
            store.borrow().max_keys()
        )),
        Err(error) => refuse(&error.to_string()),
    }
}

/// What a server says of a command that it does not know.
fn unknown(name: &[u8], words: &[&[u8]]) -> String {
    let mut arguments = String::new();
    for word in words.iter().skip(1) {
        if arguments.len() >= 128 {
            break;
        }
        arguments += &format!("'{}' ", text(word, 128 - arguments.len()));
    }
    let name = text(name, 128);
    format!("ERR unknown command '{name}', with args beginning with: {arguments}")
}

/// The beginning of a word, as text.
fn text(word: &[u8], most_bytes: usize) -> String {
    let word = word.get(..most_bytes).unwrap_or(word);
    String::from_utf8_lossy(word).into_owned()
}

/// `DEL key [key ...]`, `UNLINK` likewise: how many there were.
fn delete(call: &Call, store: &RefCell<Store>) {
    let mut store = store.borrow_mut();
    let keys = call.key_names().iter();
    let count = keys.filter(|name| store.delete(name)).count();
    call.reply_count(count as u64);
}

/// `EXISTS key [key ...]`: how many there are.
fn exists(call: &Call, store: &RefCell<Store>) {
    let mut store = store.borrow_mut();
    let keys = call.key_names().iter();
    let count = keys.filter(|name| store.holds(name)).count();
    call.reply_count(count as u64);
}

/// `PTTL key`: what is left of its TTL in milliseconds, -2 where there is no such key.
fn pttl(call: &Call, store: &RefCell<Store>) {
    let mut store = store.borrow_mut();
    let Some(name) = call.key_names().first() else {
        return call.reply_integer(-2);
    };
    if !store.holds(name) {
        return call.reply_integer(-2);
    }
    match store.expires_ms(name) {
        Some(at_ms) => call.reply_count(at_ms.saturating_sub(registry::now_ms())),
        None => call.reply_integer(-1),
    }
}

/// `PING`
fn ping(call: &Call, _: &RefCell<Store>) {
    call.reply_simple(c"PONG");
}
