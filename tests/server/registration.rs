//! What the server knows of the commands: arity, flags, keys, documentation, ACL categories, module information.

use crate::support::{self, Reply, Server};

/// What the server should know of one command.
struct Command {
    name: &'static str,
    arity: i64,
    first_key: i64,
    writes: bool,
    example: &'static str,
    key: &'static str,
}

const COMMANDS: [Command; 6] = [
    Command {
        name: "rl.fixed",
        arity: -4,
        first_key: 1,
        writes: true,
        example: "RL.FIXED user:1 5 30d COST 2",
        key: "user:1",
    },
    Command {
        name: "rl.sliding",
        arity: -4,
        first_key: 1,
        writes: true,
        example: "RL.SLIDING user:2 5 30d 6 60d",
        key: "user:2",
    },
    Command {
        name: "rl.bucket",
        arity: -5,
        first_key: 1,
        writes: true,
        example: "RL.BUCKET user:3 5 1 30d FORCE",
        key: "user:3",
    },
    Command {
        name: "rl.block",
        arity: 3,
        first_key: 1,
        writes: true,
        example: "RL.BLOCK user:6 30s",
        key: "user:6",
    },
    Command {
        name: "rl.peek",
        arity: -5,
        first_key: 2,
        writes: false,
        example: "RL.PEEK FIXED user:4 5 30d",
        key: "user:4",
    },
    Command {
        name: "rl.info",
        arity: 2,
        first_key: 1,
        writes: false,
        example: "RL.INFO user:5",
        key: "user:5",
    },
];

impl Command {
    fn flags(&self) -> &'static [&'static str] {
        if self.writes {
            &["write", "fast"]
        } else {
            &["readonly", "fast"]
        }
    }
}

#[test]
fn command_info_tells_arity_flags_and_key() {
    let server = Server::start();
    for command in COMMANDS {
        let Command {
            name,
            arity,
            first_key,
            ..
        } = command;
        let reply = server.call(&format!("COMMAND INFO {name}"));
        let [info] = reply.array() else {
            panic!("one command asked, one described: {reply:?}");
        };
        let info = info.array();
        assert_eq!(info[0].text().to_lowercase(), name);
        assert_eq!(info[1].int(), arity, "{name}");
        let said = info[2].texts();
        for flag in command.flags() {
            assert!(
                said.iter().any(|word| word == flag),
                "{name} has no flag {flag}: {said:?}"
            );
        }
        // Where memory is full, what is there goes on counting.
        assert!(!said.iter().any(|word| word == "denyoom"), "{name}");
        let contrary = if command.writes { "readonly" } else { "write" };
        assert!(
            !said.iter().any(|word| word == contrary),
            "{name}: {said:?}"
        );
        assert_eq!(info[3].int(), first_key, "{name}");
        assert_eq!(
            (info[4].int(), info[5].int()),
            (first_key, 1),
            "{name}: one key"
        );
    }
}

#[test]
fn getkeys_finds_the_one_key() {
    let server = Server::start();
    for Command {
        example,
        key,
        writes,
        ..
    } in COMMANDS
    {
        let keys = server.call(&format!("COMMAND GETKEYS {example}"));
        assert_eq!(keys.texts(), [key], "{example}");
        let flagged = server.call(&format!("COMMAND GETKEYSANDFLAGS {example}"));
        let words = flagged.texts();
        assert_eq!(words[0], key);
        assert_eq!(
            words.iter().any(|flag| flag == "RW"),
            writes,
            "{example}: {words:?}"
        );
        assert_ne!(
            writes,
            words.iter().any(|flag| flag == "RO"),
            "{example}: {words:?}"
        );
    }
}

#[test]
fn command_docs_describe_every_command_and_argument() {
    let server = Server::start();
    for Command { name, .. } in COMMANDS {
        let docs = server.call(&format!("COMMAND DOCS {name}"));
        let Reply::Map(pairs) = &docs else {
            panic!("documentation is a map: {docs:?}");
        };
        let docs = &pairs[0].1;
        assert!(docs.field("summary").text().len() > 10, "{name}: {docs:?}");
        assert_eq!(docs.field("module").text(), "ratelimit");
        assert!(!docs.field("complexity").text().is_empty());
        assert!(!docs.field("since").text().is_empty());
        let arguments: Vec<String> = docs
            .field("arguments")
            .array()
            .iter()
            .map(|argument| argument.field("name").text().to_lowercase())
            .collect();
        assert!(
            arguments.iter().any(|argument| argument == "key"),
            "{name}: {arguments:?}"
        );
        let every_word = docs.texts().join(" ").to_lowercase();
        let expected: &[&str] = match name {
            "rl.fixed" | "rl.sliding" => &["limit", "window", "cost", "force"],
            "rl.bucket" => &["capacity", "refill", "interval", "cost", "force"],
            "rl.peek" => &["fixed", "sliding", "bucket", "cost"],
            "rl.block" => &["key", "duration"],
            _ => &[],
        };
        for word in expected {
            assert!(
                every_word.contains(word),
                "{name} does not document {word}: {docs:?}"
            );
        }
    }
}

/// From 7.2 on a module can set its commands' ACL categories; before, no module command has any.
#[test]
fn acl_categories_are_there_where_the_server_has_them() {
    let server = Server::start();
    for Command { name, writes, .. } in COMMANDS {
        let info = server.call(&format!("COMMAND INFO {name}"));
        let categories = info.array()[0].array()[6].texts();
        for category in [if writes { "write" } else { "read" }, "fast"] {
            if server.version() >= (7, 2) {
                assert!(
                    categories.contains(&format!("@{category}")),
                    "{name}: {categories:?}"
                );
                let listed = server.call(&format!("ACL CAT {category}")).texts();
                assert!(
                    listed
                        .iter()
                        .any(|command| command.eq_ignore_ascii_case(name)),
                    "{name}"
                );
            }
        }
    }
    // On every server: a rule that names a command works.
    server.ok("ACL SETUSER reader on nopass ~* -@all +rl.peek");
    let mut reader =
        server.connect_with(&["--user", "reader", "--pass", "any", "--no-auth-warning"]);
    assert!(reader.decide("RL.PEEK FIXED k 5 30d").allowed);
    assert!(reader
        .call("RL.FIXED k 5 30d")
        .error()
        .starts_with("NOPERM"));
}

#[test]
fn the_module_is_listed_by_its_name() {
    let server = Server::start();
    let modules = server.call("MODULE LIST");
    // Some servers bring modules of their own.
    let ours = |module: &&Reply| module.field("name").text() == "ratelimit";
    let ours: Vec<&Reply> = modules.array().iter().filter(ours).collect();
    let [module] = ours[..] else {
        panic!("it is listed once: {modules:?}");
    };
    let numbers = env!("CARGO_PKG_VERSION").split('.');
    let number = numbers.fold(0, |all, part| 100 * all + part.parse::<i64>().unwrap());
    assert_eq!(module.field("ver").int(), number);
}

#[test]
fn every_command_of_the_module_is_one_that_this_file_knows_or_internal() {
    let server = Server::start();
    let mut names: Vec<String> = server
        .call("COMMAND LIST FILTERBY MODULE ratelimit")
        .texts()
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    names.sort();
    for Command { name, .. } in COMMANDS {
        assert!(
            names.iter().any(|known| known == name),
            "{name} is missing: {names:?}"
        );
    }
    assert!(names.iter().any(|name| name == "rl.apply"), "{names:?}");
    assert!(
        names.iter().all(|name| name.starts_with("rl.")),
        "{names:?}"
    );
}

#[test]
fn the_keys_type_is_named() {
    let server = Server::start();
    server.decide("RL.FIXED k 5 30d");
    assert_eq!(server.call("TYPE k").text(), "ratelimit");
    assert_eq!(
        server.call("SCAN 0 TYPE ratelimit").array()[1].texts(),
        ["k"]
    );
    server.call("OBJECT ENCODING k");
    assert!(server.call("OBJECT FREQ k").is_error());
    assert!(server.call("OBJECT IDLETIME k").int() >= 0);
}

/// Keys may hold the type, so the module stays: the server refuses to unload it and goes on.
#[test]
fn unloading_is_refused() {
    let server = Server::start();
    server.decide("RL.FIXED k 5 30d");
    assert!(server.call("MODULE UNLOAD ratelimit").is_error());
    assert_eq!(server.decide("RL.FIXED k 5 30d").remaining, 3);
}

#[test]
fn the_module_loads_into_a_running_server_once() {
    let server = Server::without_module(&[]);
    assert!(server
        .call("RL.FIXED k 5 30d")
        .error()
        .starts_with("ERR unknown command"));
    let module = support::server::module();
    let load = format!("MODULE LOAD \"{}\"", module.display());
    server.ok(&load);
    assert!(server.decide("RL.FIXED k 5 30d").allowed);
    assert!(server.call(&load).is_error());
    assert_eq!(server.decide("RL.FIXED k 5 30d").remaining, 3);
}

/// Who is given every category but those of administrators cannot send what only the server itself is to send. (On Redis
/// 7.0 and 7.1 a module's command is in no category at all.)
#[test]
fn internal_commands_are_in_no_category_that_an_application_is_given() {
    const INTERNAL: [&str; 5] = [
        "rl.apply k payload",
        "rl.node payload",
        "rl.room",
        "rl.merge k payload",
        "rl.heard us 1",
    ];
    let server = Server::start();
    let given: Vec<String> = server
        .call("ACL CAT")
        .texts()
        .into_iter()
        .filter(|category| !["all", "admin", "dangerous"].contains(&category.as_str()))
        .map(|category| format!("+@{category}"))
        .collect();
    let given = given.join(" ");
    server.ok(&format!(
        "ACL SETUSER application on nopass ~* -@all {given}"
    ));
    let login = [
        "--user",
        "application",
        "--pass",
        "any",
        "--no-auth-warning",
    ];
    let mut application = server.connect_with(&login);
    for line in INTERNAL {
        let refused = application.call(line);
        assert!(refused.error().starts_with("NOPERM"), "{line}: {refused:?}");
    }
    if server.version() < (7, 2) {
        return; // there is no more to see: nothing of a module's is in any category
    }
    assert!(application.decide("RL.FIXED k 5 30d").allowed);
    assert_eq!(application.call("RL.BLOCK shut 30s").int(), 30_000);
    let listed = |category: &str| -> Vec<String> {
        let names = server.call(&format!("ACL CAT {category}")).texts();
        names.iter().map(|name| name.to_lowercase()).collect()
    };
    for line in INTERNAL {
        let name = line.split(' ').next().unwrap().to_owned();
        assert!(listed("admin").contains(&name), "{name}");
        assert!(listed("dangerous").contains(&name), "{name}");
        assert!(!listed("write").contains(&name), "{name}");
        assert!(!listed("ratelimit").contains(&name), "{name}");
    }
}
