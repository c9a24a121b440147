//! A command, as a row of a table: its callback, flags, keys, documentation and ACL categories.

use super::{function, function_of, optional, Call, Keys, Loading, OK};
use redis_module::commands::{
    get_redis_command_args, get_redis_key_spec, BeginSearch, FindKeys, KeySpec as CrateKeySpec,
    KeySpecFlags, RedisModuleCommandArg,
};
use redis_module::raw;
use std::ffi::{c_char, c_int, CStr, CString};
use std::fmt;
use std::ptr;

/// A command or, behind a bar, a subcommand.
pub struct Command {
    /// Its name; a subcommand's behind its container's and a bar. A container goes before its subcommands.
    pub name: &'static str,
    /// What runs it; nothing where it only contains others.
    pub handler: Option<Callback>,
    /// Who may call it, and when.
    pub access: Access,
    /// As in COMMAND INFO: at least so many words where negative.
    pub arity: c_int,
    /// What it does, in a sentence.
    pub summary: &'static CStr,
    /// What it takes.
    pub complexity: &'static CStr,
    /// Where its keys are.
    pub keys: KeySpec,
    /// Its arguments, as COMMAND DOCS describes them.
    pub args: fn() -> Vec<RedisModuleCommandArg>,
}

/// Who may call a command, and when.
#[derive(Clone, Copy)]
pub struct Access {
    /// The server's own flags, separated by spaces.
    pub flags: &'static CStr,
    /// ACL categories, separated by single spaces: a server gives a module's commands none by itself.
    pub categories: &'static str,
}

impl Access {
    /// Flags, and categories.
    pub const fn new(flags: &'static CStr, categories: &'static str) -> Self {
        Self { flags, categories }
    }
}

/// The place of a command's keys, and what is done with them.
#[derive(Clone, Copy)]
pub enum KeySpec {
    /// It has none.
    None,
    /// The argument of this place is one that is read.
    Reads(c_int),
    /// The argument of this place is one that is changed.
    Updates(c_int),
    /// The arguments from this place on are ones that are changed.
    UpdatesAll(c_int),
    /// The argument of this place is the number of keys that follow, which are read.
    ReadsNumbered(c_int),
    /// The argument of this place is the number of keys that follow, which are changed.
    UpdatesNumbered(c_int),
}

/// What the server calls for a command.
pub type Callback = unsafe extern "C" fn(
    *mut raw::RedisModuleCtx,
    *mut *mut raw::RedisModuleString,
    c_int,
) -> c_int;

/// The callback of a command that is the function `F`: it replies, or returns the error to reply with.
pub fn callback<F, E>(_command: F) -> Option<Callback>
where
    F: Fn(&Call) -> Result<(), E>,
    E: fmt::Display,
{
    Some(run::<F, E>)
}

/// [`callback`] of a command that opens keys.
pub fn keyed<F, E>(_command: F) -> Option<Callback>
where
    F: Fn(&Call, &mut Keys) -> Result<(), E>,
    E: fmt::Display,
{
    Some(run_keyed::<F, E>)
}

/// # Safety
/// 1. `ctx`, `argv` and `argc` are what the server passes to a command's callback, which this is.
/// 2. There has been a value of `F`.
unsafe extern "C" fn run_keyed<F, E>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int
where
    F: Fn(&Call, &mut Keys) -> Result<(), E>,
    E: fmt::Display,
{
    // SAFETY: by 2.
    let command = unsafe { function_of::<F>() };
    // SAFETY: by 1; the call is gone when this returns.
    let call = unsafe { Call::new(ctx, argv, argc) };
    // SAFETY: nobody else has asked for it.
    let mut keys = unsafe { call.keys() };
    if let Err(error) = command(&call, &mut keys) {
        call.reply_error(&error);
    }
    OK
}

/// # Safety
/// 1. `ctx`, `argv` and `argc` are what the server passes to a command's callback, which this is.
/// 2. There has been a value of `F`.
unsafe extern "C" fn run<F, E>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int
where
    F: Fn(&Call) -> Result<(), E>,
    E: fmt::Display,
{
    // SAFETY: by 2.
    let command = unsafe { function_of::<F>() };
    // SAFETY: by 1; the call is gone when this returns.
    let call = unsafe { Call::new(ctx, argv, argc) };
    if let Err(error) = command(&call) {
        call.reply_error(&error);
    }
    OK
}

impl Loading<'_> {
    /// Registers commands. `category` is an ACL category of the module's own, which servers have from Redis 7.4 and Valkey 8
    /// on; on others the commands are not in it. The error says what the server refused.
    pub fn add_commands(&self, commands: &[Command], category: &str) -> Result<(), String> {
        let name = CString::new(category).unwrap_or_default();
        // SAFETY: the module is being loaded; the server copies the name.
        let is_added = optional!(RedisModule_AddACLCategory)
            .is_some_and(|add| unsafe { add(self.ctx(), name.as_ptr()) } == OK);
        let lacks = (!is_added).then_some(category);
        for command in commands {
            self.add_command(command, lacks).map_err(|what| {
                let name = command.name;
                format!("ratelimit: the server refused {what} of {name}")
            })?;
        }
        Ok(())
    }

    fn add_command(&self, row: &Command, lacks: Option<&str>) -> Result<(), &'static str> {
        let name = CString::new(row.name).unwrap_or_default();
        let created = match row.name.split_once('|') {
            None => self.create(&name, row),
            Some((container, subcommand)) => {
                let container = CString::new(container).unwrap_or_default();
                let subcommand = CString::new(subcommand).unwrap_or_default();
                self.created(&container)
                    .is_some_and(|container| container.create(&subcommand, row))
            }
        };
        let command = created.then(|| self.created(&name)).flatten();
        let command = command.ok_or("the name or flags")?;
        if !command.document(row) {
            return Err("the documentation");
        }
        if !command.categorise(row.access.categories, lacks) {
            return Err("the ACL categories");
        }
        Ok(())
    }

    fn create(&self, name: &CStr, row: &Command) -> bool {
        // The key specs, which follow, say it again, and for keys that are numbered alone.
        let (key, last, step) = match row.keys {
            KeySpec::Reads(key) | KeySpec::Updates(key) => (key, key, 1),
            KeySpec::UpdatesAll(key) => (key, -1, 1),
            _ => (0, 0, 0),
        };
        let create = function!(RedisModule_CreateCommand);
        let handler = row.handler.map(|handler| handler as _);
        // SAFETY: the module is being loaded; the server copies the strings; `callback` made the handler for a command.
        let created = unsafe {
            create(
                self.ctx(),
                name.as_ptr(),
                handler,
                row.access.flags.as_ptr(),
                key,
                last,
                step,
            )
        };
        created == OK
    }

    fn created(&self, name: &CStr) -> Option<Created> {
        let get = function!(RedisModule_GetCommand);
        // SAFETY: the module is being loaded; the name lives past the call.
        let command = unsafe { get(self.ctx(), name.as_ptr()) };
        Some(Created(ptr::NonNull::new(command)?))
    }
}

/// A command that has been created, while the module is being loaded.
struct Created(ptr::NonNull<raw::RedisModuleCommand>);

impl Created {
    fn create(&self, name: &CStr, row: &Command) -> bool {
        let create = function!(RedisModule_CreateSubcommand);
        let handler = row.handler.map(|handler| handler as _);
        // SAFETY: this one has been created, and the module is being loaded; as for `Loading::create`.
        let created = unsafe {
            create(
                self.0.as_ptr(),
                name.as_ptr(),
                handler,
                row.access.flags.as_ptr(),
                0,
                0,
                0,
            )
        };
        created == OK
    }

    /// What COMMAND DOCS says of it, and where its keys are.
    fn document(&self, row: &Command) -> bool {
        static VERSION: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
            version: 1,
            sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
            sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
            sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
        };
        let mut key_specs = get_redis_key_spec(row.keys.specs());
        let args = get_redis_command_args((row.args)());
        let mut info = raw::RedisModuleCommandInfo {
            version: &raw const VERSION,
            summary: row.summary.as_ptr(),
            complexity: row.complexity.as_ptr(),
            since: SINCE.as_ptr(),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: row.arity,
            key_specs: key_specs.as_mut_ptr(),
            args: args.map_or(ptr::null_mut(), |args| args.leak().as_mut_ptr()),
        };
        let set = function!(RedisModule_SetCommandInfo);
        // SAFETY: it has been created, and the module is being loaded; the server copies what it is given. (The
        // descriptions of arguments are not freed afterwards: some kilobytes, once.)
        unsafe { set(self.0.as_ptr(), &raw mut info) == OK }
    }

    fn categorise(&self, categories: &str, lacks: Option<&str>) -> bool {
        // Redis 7.2 and Valkey have the function.
        let set = optional!(RedisModule_SetCommandACLCategories);
        let Some(set) = set.filter(|_| !categories.is_empty()) else {
            return true;
        };
        let words = categories.split(' ').filter(|word| Some(*word) != lacks);
        let words = words.collect::<Vec<_>>().join(" ");
        let words = CString::new(words).unwrap_or_default();
        // SAFETY: it has been created, and the module is being loaded; the text lives past the call.
        unsafe { set(self.0.as_ptr(), words.as_ptr().cast::<c_char>()) == OK }
    }
}

impl KeySpec {
    fn specs(self) -> Vec<CrateKeySpec> {
        let reads = KeySpecFlags::READ_ONLY | KeySpecFlags::ACCESS;
        let updates = KeySpecFlags::READ_WRITE | KeySpecFlags::ACCESS | KeySpecFlags::UPDATE;
        let one = || FindKeys::new_range(0, 1, 0);
        let numbered = || FindKeys::new_keys_num(0, 1, 1);
        let (place, access, find) = match self {
            KeySpec::None => return Vec::new(),
            KeySpec::Reads(place) => (place, reads, one()),
            KeySpec::Updates(place) => (place, updates, one()),
            KeySpec::UpdatesAll(place) => (place, updates, FindKeys::new_range(-1, 1, 0)),
            KeySpec::ReadsNumbered(place) => (place, reads, numbered()),
            KeySpec::UpdatesNumbered(place) => (place, updates, numbered()),
        };
        let begin = BeginSearch::new_index(place);
        vec![CrateKeySpec::new(None, access, begin, find)]
    }
}

const SINCE: &CStr = c"0.1.0";
