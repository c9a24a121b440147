//! Who has sent a call, and what the server lets that user see.

use super::call::string_bytes;
use super::{function, Call, OK};
use redis_module::raw;
use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What a command that reads a key asks of a user: `REDISMODULE_CMD_KEY_ACCESS`.
const READS: c_int = 1 << 4;

/// A user of the server's.
pub struct User<'a> {
    ctx: *mut raw::RedisModuleCtx,
    user: NonNull<raw::RedisModuleUser>,
    call: PhantomData<&'a ()>,
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        let free = function!(RedisModule_FreeModuleUser);
        // SAFETY: `Call::user` was given it, and it is freed only here.
        unsafe { free(self.user.as_ptr()) };
    }
}

/// A string of the server's that is ours to free.
struct Text {
    ctx: *mut raw::RedisModuleCtx,
    string: NonNull<raw::RedisModuleString>,
}

impl Text {
    fn new(ctx: *mut raw::RedisModuleCtx, bytes: &[u8]) -> Option<Self> {
        let create = function!(RedisModule_CreateString);
        // SAFETY: the server copies as many bytes as there are.
        let string = unsafe { create(ctx, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
        let string = NonNull::new(string)?;
        Some(Self { ctx, string })
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let free = function!(RedisModule_FreeString);
        // SAFETY: it was made for us, and is freed only here.
        unsafe { free(self.ctx, self.string.as_ptr()) };
    }
}

impl User<'_> {
    /// Whether the user may read the key of that name.
    pub fn may_read(&self, key: &[u8]) -> bool {
        let check = function!(RedisModule_ACLCheckKeyPermissions);
        Text::new(self.ctx, key).is_some_and(|key| {
            // SAFETY: the server looks at both, and keeps neither.
            unsafe { check(self.user.as_ptr(), key.string.as_ptr(), READS) == OK }
        })
    }

    /// Whether the user may send this command.
    pub fn may_send(&self, words: &[&str]) -> bool {
        let check = function!(RedisModule_ACLCheckCommandPermissions);
        let texts = words
            .iter()
            .map(|word| Text::new(self.ctx, word.as_bytes()));
        let Some(texts) = texts.collect::<Option<Vec<Text>>>() else {
            return false;
        };
        let mut strings: Vec<_> = texts.iter().map(|text| text.string.as_ptr()).collect();
        let count = c_int::try_from(strings.len()).unwrap_or(0);
        // SAFETY: the server looks at as many strings as there are, and keeps none.
        unsafe { check(self.user.as_ptr(), strings.as_mut_ptr(), count) == OK }
    }
}

impl<'a> Call<'a> {
    fn client_id(&self) -> u64 {
        let id = function!(RedisModule_GetClientId);
        // SAFETY: the call's own context.
        unsafe { id(self.ctx()) }
    }

    /// The name of the user who has sent the call. `None` where the server knows none, as in a script. (By the client's
    /// number, as Redis 7.0 crashes where it is asked for the current user and there is none.)
    fn user_name(&self) -> Option<Text> {
        let name = function!(RedisModule_GetClientUserNameById);
        let ctx = self.ctx();
        // SAFETY: the call's own context; what is returned is ours to free.
        let string = unsafe { name(ctx, self.client_id()) };
        let string = NonNull::new(string)?;
        Some(Text { ctx, string })
    }

    /// The user who has sent the call; `None` where the server knows none.
    pub fn user(&self) -> Option<User<'a>> {
        let find = function!(RedisModule_GetModuleUserFromUserName);
        let name = self.user_name()?;
        // SAFETY: the server looks the name up; what is returned is ours to free.
        let user = unsafe { find(name.string.as_ptr()) };
        Some(User {
            ctx: self.ctx(),
            user: NonNull::new(user)?,
            call: PhantomData,
        })
    }

    /// Who has sent the call, in words.
    pub fn sender(&self) -> String {
        let Some(name) = self.user_name() else {
            return "a script or a module".to_owned();
        };
        // SAFETY: the string is there until `name` is dropped.
        let name = String::from_utf8_lossy(unsafe { string_bytes(name.string.as_ptr()) });
        let mut info = raw::RedisModuleClientInfo {
            version: 1,
            flags: 0,
            id: 0,
            addr: [0; 46],
            port: 0,
            db: 0,
        };
        let fill = function!(RedisModule_GetClientInfoById);
        let into = (&raw mut info).cast::<c_void>();
        // SAFETY: the server fills in a structure of the version that it says.
        if unsafe { fill(into, self.client_id()) } != OK {
            return format!("user '{name}'");
        }
        let address = info.addr.iter().map(|byte| byte.cast_unsigned());
        let address: Vec<u8> = address.take_while(|byte| *byte != 0).collect();
        let address = String::from_utf8_lossy(&address);
        format!("user '{name}' at {address}:{}", info.port)
    }
}
