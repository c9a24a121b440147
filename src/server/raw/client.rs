//! Who has sent a call, and what the server lets that user see.

use super::text::{string_bytes, Text};
use super::{function, Call, OK};
use redis_module::raw;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

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

impl User<'_> {
    /// Whether the user may read the key of that name.
    pub fn may_read(&self, key: &[u8]) -> bool {
        const READS: c_int = 16; // REDISMODULE_CMD_KEY_ACCESS
        let key = Text::new(self.ctx, key);
        let check = function!(RedisModule_ACLCheckKeyPermissions);
        // SAFETY: the server looks at both, and keeps neither.
        unsafe { check(self.user.as_ptr(), key.string, READS) == OK }
    }

    /// Whether the user may send a command that begins with these words.
    pub fn may_send(&self, words: &[&str]) -> bool {
        let words: Vec<Text> = words
            .iter()
            .map(|word| Text::new(self.ctx, word.as_bytes()))
            .collect();
        let mut strings: Vec<_> = words.iter().map(|word| word.string).collect();
        let count = c_int::try_from(strings.len()).unwrap_or(0);
        let check = function!(RedisModule_ACLCheckCommandPermissions);
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
        (!string.is_null()).then(|| Text { ctx, string })
    }

    /// The user who has sent the call; `None` where the server knows none.
    pub fn user(&self) -> Option<User<'a>> {
        let name = self.user_name()?;
        let user = function!(RedisModule_GetModuleUserFromUserName);
        // SAFETY: the server looks the name up; what is returned is ours to free.
        let user = unsafe { user(name.string) };
        Some(User {
            ctx: self.ctx(),
            user: NonNull::new(user)?,
            call: PhantomData,
        })
    }

    /// Who has sent the call, in words.
    pub fn sender(&self) -> String {
        let name = self.user_name().map(|name| {
            // SAFETY: a string that was made for us, and that lives as long as `name`.
            let name = unsafe { string_bytes(name.string) };
            String::from_utf8_lossy(name).into_owned()
        });
        let Some(name) = name else {
            return "a script or a module".to_owned();
        };
        let mut info = raw::RedisModuleClientInfo {
            version: 1,
            flags: 0,
            id: 0,
            addr: [0; 46],
            port: 0,
            db: 0,
        };
        let into = (&raw mut info).cast::<c_void>();
        let fill = function!(RedisModule_GetClientInfoById);
        // SAFETY: the server fills in a structure of the version that it says.
        let known = unsafe { fill(into, self.client_id()) };
        if known != OK {
            return format!("user '{name}'");
        }
        // C's characters have a sign on some machines, and none on others.
        let address = info.addr.iter().flat_map(|byte| byte.to_ne_bytes());
        let address: Vec<u8> = address.take_while(|byte| *byte != 0).collect();
        let address = String::from_utf8_lossy(&address);
        format!("user '{name}' at {address}:{}", info.port)
    }
}
