//! One limit over several regions, each with a primary of its own: who has used what, who has heard of it, and what follows
//! for the next hit.
//!
//! ```text
//! region eu                                              region us
//! key: used by eu 7, by us 3      RL.CHANGES, RL.MERGE   key: used by eu 5, by us 4
//!      decides on 10              ------------------->        decides on 9, then on 11
//! ```
//!
//! A key holds, per [`origin`], what that origin has used. Only the origin writes its part; every other region keeps the
//! newest copy that it has got. Copies merge by maximum ([`super::algorithm::joint`]), so messages may be lost, doubled,
//! reordered and late, and after silence all regions hold the same. A hit is decided here, at once, on the sum.
//!
//! What is in flight is not in the sum. [`share`] bounds that: what others have not acknowledged of a region's own usage may
//! be at most its share of what was left. [`peers`] knows what was heard and acknowledged, [`ring`] which keys have changed.

pub mod origin;
pub mod peers;
pub mod ring;
pub mod share;
