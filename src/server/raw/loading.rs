//! The module is being loaded: what the server is told of it, in an order in which nothing is left behind where it fails.

use super::{function, optional, warning, Args, Call, ERR, OK};
use redis_module::configuration::{
    register_bool_configuration, register_enum_configuration, register_i64_configuration,
    register_string_configuration, ConfigurationFlags, ConfigurationValue, EnumConfigurationValue,
};
use redis_module::native_types::RedisType;
use redis_module::raw::{self, ModuleOptions};
use redis_module::server_events::register_server_events;
use redis_module::{basic_info_command_handler, Context, InfoContext, RedisString};
use std::ffi::{c_int, c_void, CStr, CString};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

/// The module while it is being loaded. Its arguments are those of the `loadmodule` line.
pub struct Loading<'a> {
    call: Call<'a>,
}

static MAIN_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Whether this is the thread that runs commands, on which the module was loaded.
pub fn is_main_thread() -> bool {
    MAIN_THREAD.get() == Some(&thread::current().id())
}

/// What `RedisModule_OnLoad` does: introduces the module by its name and has `init` tell the server the rest. Where that
/// fails the reason is logged, and the server forgets the module.
///
/// # Safety
/// 1. `ctx`, `argv` and `argc` are what the server passed to `RedisModule_OnLoad`, which has not returned yet.
pub unsafe fn load(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    name: &'static CStr,
    version: c_int,
    init: fn(&Loading) -> Result<(), String>,
) -> c_int {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "1, which the bindings widen"
    )]
    const API: c_int = raw::REDISMODULE_APIVER_1 as c_int;
    let name = if CHECKS.load(Ordering::Relaxed) {
        RAN.store(true, Ordering::Relaxed);
        CHECK
    } else {
        name
    };
    // Nothing may be allocated before this: the allocator is one of the functions that it looks up.
    // SAFETY: by 1.
    if unsafe { raw::Export_RedisModule_Init(ctx, name.as_ptr(), version, API) } != OK {
        return ERR;
    }
    if name == CHECK {
        return OK;
    }
    let _ = MAIN_THREAD.set(thread::current().id());
    // SAFETY: by 1; the call is gone when this returns.
    let call = unsafe { Call::new(ctx, argv, argc) };
    match init(&Loading { call }) {
        Ok(()) => OK,
        Err(reason) => {
            warning(&reason);
            ERR
        }
    }
}

/// The name of a module that is nothing but a question: [`Loading::has_unknown_settings`].
const CHECK: &CStr = c"ratelimit-settings";

/// Whether the question is being asked.
static CHECKS: AtomicBool = AtomicBool::new(false);

/// Whether the server has come so far as to run it.
static RAN: AtomicBool = AtomicBool::new(false);

/// Valkey 9 migrates slots atomically only where every module says that it can. On another server, the bit may come to mean
/// something else.
const HANDLE_ATOMIC_SLOT_MIGRATION: c_int = 1 << 5;

impl<'a> Loading<'a> {
    pub(super) fn ctx(&self) -> *mut raw::RedisModuleCtx {
        self.call.ctx()
    }

    fn context(&self) -> Context {
        Context::new(self.ctx())
    }

    /// The load arguments.
    pub fn args(&self) -> Args<'a> {
        self.call.args()
    }

    /// An error where the server is older than Redis 7.0, and so lacks functions that are taken for granted.
    pub fn check_server(&self) -> Result<(), String> {
        match optional!(RedisModule_SetCommandInfo) {
            Some(_) => Ok(()),
            None => Err("ratelimit needs Redis 7.0 or newer, or Valkey".to_owned()),
        }
    }

    /// Says how the module behaves. A truncated payload is refused by us instead of ending the server; only what we changed
    /// is signalled as such, so that a denied hit leaves a WATCH alone; and a slot may be moved with its keys, as each key's
    /// state and effects are all there is to move.
    pub fn set_options(&self) {
        let mut options =
            ModuleOptions::HANDLE_IO_ERRORS | ModuleOptions::NO_IMPLICIT_SIGNAL_MODIFIED;
        if self.is_valkey() {
            options |= ModuleOptions::from_bits_retain(HANDLE_ATOMIC_SLOT_MIGRATION);
        }
        self.context().set_module_options(options);
    }

    fn is_valkey(&self) -> bool {
        let server = self.context().server_info("server");
        server.field("valkey_version").is_some()
    }

    /// Adds a setting, an integer from `least` to `most`, which the server keeps in `value`.
    pub fn add_setting(
        &self,
        name: &str,
        value: &'static AtomicI64,
        default: i64,
        [least, most]: [i64; 2],
    ) {
        let flags = ConfigurationFlags::DEFAULT;
        let context = self.context();
        register_i64_configuration(&context, name, value, default, least, most, flags, None);
    }

    /// Adds a setting, `yes` or `no`, that is said when the module is loaded and stays; `no` unless said.
    pub fn add_switch(&self, name: &str, value: &'static AtomicBool) {
        let flags = ConfigurationFlags::IMMUTABLE;
        register_bool_configuration(&self.context(), name, value, false, flags, None);
    }

    /// Adds a setting that is a text, which `value` takes or refuses; by default `default`.
    pub fn add_text_setting<T: ConfigurationValue<RedisString>>(
        &self,
        name: &str,
        value: &'static T,
        default: &str,
    ) {
        let flags = ConfigurationFlags::DEFAULT;
        register_string_configuration(&self.context(), name, value, default, flags, None);
    }

    /// Adds a setting that is one of several words, by default `default`.
    pub fn add_choice<G: EnumConfigurationValue, T: ConfigurationValue<G>>(
        &self,
        name: &str,
        value: &'static T,
        default: G,
    ) {
        let flags = ConfigurationFlags::DEFAULT;
        register_enum_configuration(&self.context(), name, value, default, flags, None);
    }

    /// Gives every setting what the server's configuration file or MODULE LOADEX says, or its default. Where a value is
    /// refused, the server has logged which.
    pub fn load_settings(&self) -> Result<(), String> {
        let load = function!(RedisModule_LoadConfigs);
        // SAFETY: the module is being loaded.
        match unsafe { load(self.ctx()) } {
            OK => Ok(()),
            _ => Err("ratelimit: a setting has a value that it must not have".to_owned()),
        }
    }

    /// Whether MODULE LOADEX names a setting that the module does not have, once its own have been loaded.
    ///
    /// A server finds that out once a module has been loaded, and then unloads it. But one that has a type it cannot
    /// unload: Redis 7.0 says that it was not loaded and keeps it, Valkey 8 and 9 crash. So it must be known before, and no
    /// function tells. But as long as a name is left over, the server refuses every module that MODULE LOADEX loads: also
    /// this library under another name, which then has no type and no command, and goes again.
    pub fn has_unknown_settings(&self) -> bool {
        // While the server starts, names of other modules are left over, and for what remains in the end it says so itself.
        let Some(path) = library().filter(|_| self.call.has_clients()) else {
            return false;
        };
        CHECKS.store(true, Ordering::Relaxed);
        let is_loaded = self.call.run("MODULE", &[b"LOADEX", path.to_bytes()]);
        CHECKS.store(false, Ordering::Relaxed);
        let has_run = RAN.swap(false, Ordering::Relaxed);
        if is_loaded {
            self.call.run("MODULE", &[b"UNLOAD", CHECK.to_bytes()]);
        }
        has_run && !is_loaded
    }

    /// Whether the server has a command already, of which `words` are a call with a key.
    pub fn has_command(&self, name: &str, words: &[&[u8]]) -> bool {
        let call = [&[b"GETKEYS", name.as_bytes()], words].concat();
        self.call.run("COMMAND", &call)
    }

    /// Creates the native type.
    pub fn create_type(&self, native: &RedisType) -> Result<(), String> {
        let created = native.create_data_type(self.ctx());
        created.map_err(|_| "ratelimit: the server refused the type".to_owned())
    }

    /// Has the server call the handlers of INFO and of its events that are marked by the crate's macros, and `on_fork` when
    /// it has forked a child. The last step: a server that gives up loading a module may go on calling what it has
    /// subscribed (7.0).
    pub fn subscribe<F: Fn(&Call)>(&self, _on_fork: F) -> Result<(), String> {
        let refused = |what: &str| format!("ratelimit: the server refused {what}");
        raw::register_info_function(self.ctx(), Some(info));
        register_server_events(&self.context()).map_err(|_| refused("its events"))?;
        let event = raw::RedisModuleEvent {
            id: raw::REDISMODULE_EVENT_FORK_CHILD,
            dataver: 1,
        };
        let subscribe = function!(RedisModule_SubscribeToServerEvent);
        // SAFETY: the module is being loaded; there is a value of `F`, which is this function's argument.
        match unsafe { subscribe(self.ctx(), event, Some(run_on_fork::<F>)) } {
            OK => Ok(()),
            _ => Err(refused("its event of a fork")),
        }
    }
}

/// # Safety
/// 1. `ctx` and `subevent` are what the server passes to the callback of a fork event, which this is.
/// 2. There has been a value of `F`.
unsafe extern "C" fn run_on_fork<F: Fn(&Call)>(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    subevent: u64,
    _data: *mut c_void,
) {
    if subevent != raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN {
        return;
    }
    // SAFETY: by 2.
    let on_fork = unsafe { super::function_of::<F>() };
    // SAFETY: by 1; the call is gone when this returns.
    let call = unsafe { Call::new(ctx, std::ptr::null_mut(), 0) };
    on_fork(&call);
}

extern "C" fn info(ctx: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int) {
    // Who knows what was at work, and on what, when the server crashed: a report of it says nothing of the module's.
    if for_crash_report == 0 {
        basic_info_command_handler(&InfoContext::new(ctx), false);
    }
}

/// The file that this library was loaded from.
fn library() -> Option<CString> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let here = library as fn() -> _ as *const c_void;
    // SAFETY: any address may be asked for, and there is room for the answer.
    if unsafe { libc::dladdr(here, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: all zeros is a value of its, too.
    let path = unsafe { info.assume_init() }.dli_fname;
    // SAFETY: a path that ends in a NUL, or null, as `dladdr` promises; the loader keeps it as long as the library.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_owned())
}
