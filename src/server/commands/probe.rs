//! What no release has: two commands for benchmarks and tests, behind the cargo feature `probe`.
//!
//! `RL.EMPTY` replies and does nothing else: what a hit costs beyond it is this module's own doing. It reads no
//! argument. How many words the call has, the name among them, says in which shape it replies:
//!
//! ```text
//! 7        RL.EMPTY key limit window DENY list value                        six elements, the last one nil
//! 8        RL.EMPTY key limit window limit window limit window              six, the last one an array of three arrays
//! 14       RL.EMPTY 3 key key key clause clause clause                      seven, as RL.ALL of three keys has them
//! others   RL.EMPTY key limit window                                        five integers
//! ```
//!
//! `RL.PANIC` does what no input may, so that a test sees how a server ends and what its log then says.

use crate::core::error::Error;
use crate::server::raw::Call;

/// `RL.EMPTY key limit window [anything ...]`
pub fn empty(call: &Call) -> Result<(), Error> {
    const WITH_DENY: usize = 7;
    const WITH_THREE_LIMITS: usize = 8;
    const WITH_THREE_KEYS: usize = 14;
    match call.count_args() {
        WITH_DENY => {
            call.reply_array(6);
            verdict(call);
            call.reply_null();
        }
        WITH_THREE_LIMITS => {
            call.reply_array(6);
            three_verdicts(call);
        }
        WITH_THREE_KEYS => {
            call.reply_array(7);
            three_verdicts(call);
            call.reply_integer(1);
        }
        _ => {
            call.reply_array(5);
            verdict(call);
        }
    }
    Ok(())
}

/// One that binds, and those of three limits or keys.
fn three_verdicts(call: &Call) {
    verdict(call);
    call.reply_array(3);
    for _ in 0..3 {
        call.reply_array(5);
        verdict(call);
    }
}

/// As of the first of a million hits an hour.
fn verdict(call: &Call) {
    for number in [1, 1_000_000, 999_999, 0, 3_600_000] {
        call.reply_integer(number);
    }
}

/// `RL.PANIC`
#[allow(clippy::panic, reason = "it is what the command is for")]
pub fn panic(_: &Call) -> Result<(), Error> {
    panic!("RL.PANIC was called");
}
