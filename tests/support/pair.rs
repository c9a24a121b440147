//! A primary and its replica, which must hold the same.

use super::{eventually, Server};

/// A primary's own lines. A ping would move the offset that tests watch; without one, a link on which nothing is sent must
/// not time out.
pub const PRIMARY: [&str; 3] = [
    "repl-ping-replica-period 3600",
    "repl-timeout 7200",
    "repl-diskless-sync-delay 0",
];

/// A primary and a replica, each started with the lines that it needs.
pub fn of(start: impl Fn(&[&str]) -> Server) -> (Server, Server) {
    let primary = start(&PRIMARY);
    let replica = replica_of(&primary, start);
    (primary, replica)
}

/// A replica in step. It stops on any error in the stream, so an effect that it refuses fails the test.
pub fn replica_of(primary: &Server, start: impl Fn(&[&str]) -> Server) -> Server {
    let follow = format!("replicaof 127.0.0.1 {}", primary.port());
    let replica = start(&[
        &follow,
        "propagation-error-behavior panic",
        "repl-diskless-sync-delay 0",
        "repl-timeout 7200",
    ]);
    eventually("the replica is in sync", || {
        replica.info_field("replication", "master_link_status") == "up"
    });
    replica
}

/// How many bytes the primary has sent.
pub fn offset(primary: &Server) -> i64 {
    primary.info_number("replication", "master_repl_offset")
}

/// Waits until the replica has applied everything that the primary sent.
pub fn wait_for(replica: &Server, primary: &Server) {
    eventually("the replica has caught up", || {
        replica.info_number("replication", "slave_repl_offset") == offset(primary)
    });
}

/// Both hold the same. An expiry may be on its way, so once is enough.
pub fn assert_equal(primary: &Server, replica: &Server) {
    wait_for(replica, primary);
    eventually("both digests are equal", || {
        primary.digest() == replica.digest()
    });
    for key in primary.call("KEYS *").texts() {
        // A key may end between the two questions: then it has no digest on the primary any more.
        eventually(&format!("{key} is equal"), || {
            primary.digest_value(&key) == replica.digest_value(&key)
        });
    }
}
