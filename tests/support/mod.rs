//! What the server tests stand on: real servers, `redis-cli` to talk to them, typed replies, and seeded randomness.
//!
//! The tests drive a `redis-server` with the module loaded, through `redis-cli`, as a user does. They link nothing of
//! the server wing. The environment chooses what is tested:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `RATELIMIT_MODULE` | the module's path | `libratelimit.so` in cargo's `release` directory |
//! | `RATELIMIT_PROBE_MODULE` | the path of one with the feature `probe` | what `scripts/build --probe` builds |
//! | `RATELIMIT_SERVER` | the server's command line, split at spaces | `redis-server` |
//! | `RATELIMIT_CLI` | the client's command line, split at spaces | `redis-cli` |
//! | `SEED` | the seed of every random sequence | a fixed one per test |

pub mod aof;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod node;
pub mod pair;
pub mod payload;
pub mod random;
pub mod reply;
pub mod resp;
pub mod server;
pub mod traffic;

use std::io::Write;
use std::time::{Duration, Instant};

pub use cli::Cli;
pub use clock::Clock;
pub use random::Random;
pub use reply::{Decision, Reply};
pub use server::Server;

/// How long a condition may take before a test gives up. Generous: it is only reached when something is broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Says that something is not tested here, in the words that the gate's summary repeats. Not by print!, whose text the
/// test harness keeps to itself.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what}");
}

/// Waits until `condition` holds, and fails the test with `what` if it does not within [`DEADLINE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
