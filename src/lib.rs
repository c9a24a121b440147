//! Rate limiting as native Redis commands: the map of the house.
//!
//! # Two wings
//!
//! | wing | what it does | what it may not have |
//! |---|---|---|
//! | [`core`] | decides | a clock, I/O, globals, `unsafe`, a type of the server's |
//! | `server` | reads arguments, opens keys, stores, propagates, replies | a decision of its own |
//!
//! The compiler holds the wall between them: `server` exists only with the (default) feature `server`, and `core` builds and
//! tests without Redis: `cargo test --no-default-features --lib`.
//!
//! `engine/`, a crate of its own, is the module in a process of its user's, and as WebAssembly: it compiles `core` and the files of
//! `server/commands`, `slot` and `reply` once more, above a host that is no server.
//!
//! # The rooms
//!
//! A room knows only rooms below it in its table.
//!
//! | `src/core/` | |
//! |---|---|
//! | `request` | the grammar: what a client may write behind a command's name, and what it means |
//! | `throttle` | redis-cell's command: its words and its reply, on our bucket |
//! | `codec` | the bytes of a limiter and of its effects, by version; `codec/{state,charge}`: those of a key and of a hit; `codec/described`: a meter's, one description for writing and reading |
//! | `quote` | what a hit would be answered and what it would change; `commit` makes the change |
//! | `decision` | the five fields, and which of several limits speaks for them all |
//! | `limiter` | what one key holds; `limiter/form`: the one list of its forms; `limiter/packed`: of one window, in 16 bytes; `limiter/block`: shut for a while; `limiter/ids`: which hits it has had; `limiter/regional`: what several regions share |
//! | `algorithm/{fixed,sliding,bucket,lease}` | one algorithm a file, the maths first; `log` holds the sliding window's bytes, `meter` what they have in common |
//! | `algorithm/joint/{fixed,sliding,bucket}` | the same, counted for several regions: parts per origin, and how copies merge; `counter` is what an origin has charged and given back |
//! | `region/{origin,share,peers,ring}` | who has used it, how much may be used before others have heard, who was heard, what has changed |
//! | `node/{policy,deny,stats}` | what belongs to the node and not to a key |
//! | `error` | every refusal: one variant and one text each |
//! | `calendar` | where days, weeks and months begin and end in a time zone |
//! | `limit` | a limit that was checked, and the bound of every number |
//! | `numbered` | each limit in use once, by a number that keys hold in its place |
//! | `span` | a window's identity |
//! | `zone`, `duration` | time zones by name; `15m` as a person writes it |
//! | `bytes/{varint,sink,source}` | numbers as bytes, where bytes are written to, and the one reader of bytes that cannot be trusted |
//! | `hashing` | the seed of tables that live in one process |
//!
//! | `src/server/` | |
//! |---|---|
//! | `commands/` | one file a command family, each in the order of the next section |
//! | `register`, `config`, `info`, `events` | the command table, settings, `INFO`, what the server tells of itself |
//! | `registry`, `journal` | the node's data behind one guard, and how it gets into the AOF |
//! | `data_type` | the native type `ratelimit`: RDB, AOF rewrite, digest, defragmentation, lazy free |
//! | `regions` | who of other regions was heard, and which keys have changed for them |
//! | `slot` | the key of a call, absent or held, and its TTL |
//! | `propagate`, `reply` | effects, replies |
//! | `zones` | the time zone database, asked on the primary alone |
//! | `raw/` | the only callers of the server's functions, each with the argument why the call is sound |
//!
//! # How a hit flows
//!
//! ```text
//! RL.SLIDING login:alice 5 15m POLICY login DENY bots 192.0.2.7
//!
//! parse      request      words into a hit: limits, cost, options. A bad word ends here, and nothing was touched
//! look up    node         the policy's limits replace the call's; a denied address ends here, and nothing is charged
//! open       slot         the key: absent, a limiter, or WRONGTYPE
//! quote      quote        against every limit: does it fit, what remains, when to come back. Changes nothing
//! commit     quote        the same quote is charged to every limit, or to none. Decides nothing
//! propagate  propagate    the effect, if there is one, to replicas and the AOF; the key's TTL
//! count      node/stats   allowed, denied or deny-listed, under the policy's name
//! reply      reply        five integers, then what the call asked for
//! ```
//!
//! The clock is read once, between *parse* and *look up*, and handed down. `RL.PEEK` is a quote that nobody commits; a call
//! over several keys is several quotes, committed together if all of them fit. A denied hit ends at *quote*: it commits and
//! propagates nothing.
//!
//! # What one key holds
//!
//! ```text
//! key login:alice ─▶ type ratelimit ─▶ Limiter::Sliding
//!                                        one meter per limit: window 15m, limit 5, log (t1, 1) (t2, 1)
//! ```
//!
//! A meter counts what was used, never what is left: an absent key means that nothing was used, and other limits can be held
//! against the same usage.
//!
//! # What travels
//!
//! ```text
//! a hit that charged       ─▶ replicas, AOF    RL.APPLY login:alice <charge of 1 at t2, 5 per 15m>
//! a merge that was news    ─▶                  RL.APPLY login:alice <merge of another region's parts at t2>
//! AOF rewrite, migration   ─▶                  RL.APPLY login:alice <state>
//! RDB, DUMP                ─▶                  the bytes of the same state
//! policies, deny lists     ─▶ replicas, AOF    RL.NODE <what has changed>
//! statistics               ─▶ replicas, AOF    RL.NODE <what has changed since the last record>, once a second
//! ```
//!
//! It is always the effect, with absolute times, never the call: whoever applies it, whenever, gets the same state.
//!
//! # Where each bound stands
//!
//! | bound | where |
//! |---|---|
//! | counts (2^53 - 1), times, limits per key | `core/limit` |
//! | windows and intervals: 1 ms to 3660 d | `core/duration` |
//! | words of a call: limits, names, values | `core/request` |
//! | entries of a sliding log, and what happens past them | `core/algorithm/sliding` |
//! | bytes of a state and of an effect | `core/codec` |
//! | policies, deny lists, names, identifiers: defaults, least and most | `server/config` |
//! | hours of statistics, and the error of the top lists | `core/node/stats` |
//! | origins of one window, another region's clock | `core/algorithm/joint` |
//! | regions | `core/region/peers` |
//! | records of the node's data, in bytes; how often they go out | `core/node`, `server/journal` |

pub mod core;
#[cfg(feature = "server")]
mod server;
