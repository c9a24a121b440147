//! `RL.CHANGES`, `RL.MERGE`, `RL.HEARD`, `RL.REGION`, `RL.RESET`: one limit over several regions. Whatever carries what one
//! server hands out to the others has one loop: CHANGES here, MERGE and HEARD there.

use super::KEY;
use crate::core::codec;
use crate::core::error::Error;
use crate::core::limit::MAX_TIME_MS;
use crate::core::limiter::regional::{self, Merging, Payload, Regional};
use crate::core::region::origin::Region;
use crate::core::region::ring::{Cursor, Position};
use crate::core::request;
use crate::server::propagate::APPLY;
use crate::server::raw::{now_ms, warning, Call, Key, Keys, User};
use crate::server::slot::Slot;
use crate::server::{config, data_type, regions};
use std::borrow::Cow;

/// Keys of one RL.CHANGES, if nobody says, and at the most.
const DEFAULT_COUNT: usize = 1_000;
const MAX_COUNT: usize = 100_000;

/// For how long a bucket's refill may be owed, where merging alone has made the debt.
const DEBT_MS: u64 = 10_000;

fn own() -> Result<Region, Error> {
    config::REGION.get().ok_or(Error::NoRegion)
}

fn region(words: &[&[u8]], at: usize) -> Result<Region, Error> {
    let name = words.get(at).copied().unwrap_or_default();
    Region::parse(name).ok_or(Error::Region { at })
}

/// `RL.CHANGES cursor [COUNT n]`: the next cursor, until when the reader has been handed everything then, key after payload,
/// and how many keys were withheld, as the user may not read them.
pub fn changes(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const CURSOR: usize = 1;
    let own = own()?;
    let args = call.args();
    let cursor = Cursor::parse(call.arg(CURSOR)).ok_or(Error::Cursor { at: CURSOR })?;
    let behind = args.get(CURSOR + 1..).unwrap_or_default();
    let count = request::scan_count(behind, CURSOR + 1, DEFAULT_COUNT, MAX_COUNT)?;
    let now_ms = now_ms();
    let mut sent = Sent {
        call,
        keys,
        user: call.user().ok_or(Error::NoUser)?,
        own,
        now_ms,
        pairs: Vec::new(),
        withheld: 0,
    };
    let (next, until_ms) = match regions::with(|regions| regions.ring.place(cursor)) {
        Position::Changes { from } => changed(&mut sent, from, count),
        Position::Pass { scan, from } => pass(&mut sent, scan, from, count),
    };
    call.reply_array(4);
    let next = regions::with(|regions| regions.ring.cursor(next));
    call.reply_bytes(next.as_bytes());
    call.reply_count(until_ms);
    call.reply_array(2 * sent.pairs.len());
    for (name, payload) in sent.pairs {
        call.reply_bytes(&name);
        call.reply_bytes(&payload);
    }
    call.reply_count(sent.withheld);
    Ok(())
}

/// What a reader is handed: of the keys that its user may read.
struct Sent<'a, 'keys> {
    call: &'a Call<'a>,
    keys: &'a mut Keys<'keys>,
    user: User<'a>,
    own: Region,
    now_ms: u64,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    withheld: u64,
}

impl Sent<'_, '_> {
    /// Adds a key, or withholds it; one that is gone, or of which `is_sent` says no, is neither.
    fn add(
        &mut self,
        name: &[u8],
        of: Option<Region>,
        is_sent: impl FnOnce(&dyn Regional) -> bool,
    ) {
        let (own, now_ms) = (self.own, self.now_ms);
        let look = |key: Key| exported(&key, own, of, now_ms, is_sent);
        let Some(payload) = self.keys.look_at(name, look) else {
            return;
        };
        if self.user.may_read(name) {
            self.pairs.push((name.to_vec(), payload));
        } else {
            self.withheld += 1;
        }
    }
}

/// What has changed from an entry on.
fn changed(sent: &mut Sent, from: u64, count: usize) -> (Position, u64) {
    let (own, now_ms) = (sent.own, sent.now_ms);
    let database = sent.call.database();
    let quiet = config::REGION_QUIET.get() as u64;
    let entries: Vec<_> = regions::with(|regions| {
        let entries = regions.ring.from(from);
        entries.map_or_else(Vec::new, |entries| {
            let entries = entries.take(count);
            entries
                .map(|(number, entry)| (number, entry.clone()))
                .collect()
        })
    });
    let next = from + entries.len() as u64;
    let until_ms = regions::with(|regions| {
        regions.ring.hand(next);
        regions.ring.complete_until_ms(next, now_ms)
    });
    let here = entries
        .iter()
        .filter(|(_, entry)| entry.database == database);
    for (number, entry) in here {
        // A key with a later entry is sent with that one, and one that is gone is not.
        sent.add(&entry.name, Some(own), |regional| {
            regional.local().entry == *number && regional.has_used(own, quiet, now_ms)
        });
    }
    (Position::Changes { from: next }, until_ms)
}

/// A part of a pass over all keys.
fn pass(sent: &mut Sent, scan: u64, from: u64, count: usize) -> (Position, u64) {
    let Some((scan, names)) = sent.call.scan(scan, count, "ratelimit") else {
        return (Position::Pass { scan, from }, 0); // the server is loading, say: later
    };
    for name in names {
        sent.add(&name, None, |_| true);
    }
    if scan != 0 {
        return (Position::Pass { scan, from }, 0);
    }
    let until_ms = regions::with(|regions| regions.ring.complete_until_ms(from, sent.now_ms));
    (Position::Changes { from }, until_ms)
}

/// What a key holds for other regions: a region's own part, or all.
fn exported(
    key: &Key,
    own: Region,
    of: Option<Region>,
    now_ms: u64,
    is_sent: impl FnOnce(&dyn Regional) -> bool,
) -> Option<Vec<u8>> {
    let value = key.value(data_type::handle())?;
    // SAFETY: the server keeps only what `into_raw` made under this type; the key is open, and nobody else looks at it.
    let held = unsafe { data_type::held(value) };
    let regional = held.regional()?;
    is_sent(regional).then_some(())?;
    let payload = Payload {
        sender: own,
        copy: regional.export(of, now_ms)?,
    };
    Some(codec::encode_parts(&payload))
}

/// `RL.MERGE key payload`: 1 where it was news.
pub fn merge(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const PAYLOAD: usize = 2;
    let own = own()?;
    let parts = call.arg(PAYLOAD);
    let mut payload = codec::decode_parts(parts).ok_or(Error::Parts { at: PAYLOAD })?;
    regions::with(|regions| regions.peers.check(payload.sender, own))?;
    let strangers = drop_strangers(&mut payload, own);
    let parts = match strangers {
        0 => Cow::Borrowed(parts),
        _ => Cow::Owned(codec::encode_parts(&payload)), // replicas know what is counted here, not who is known
    };
    let setting = Merging {
        now_ms: now_ms(),
        debt_ms: DEBT_MS,
        log_size: config::sliding_entries(),
    };
    let Some(key) = keys.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
    if slot.held().is_none() && call.refuses_new_keys() {
        let (limiter, _) = regional::merge(None, &payload, setting, own)?;
        if limiter.is_some() {
            return Err(Error::OutOfMemory);
        }
    }
    let is_news = slot.merge(&payload, setting, own)?;
    if is_news {
        slot.key()
            .replicate(APPLY, &codec::encode_merge(&parts, setting, own));
        slot.key().signal_modified();
    }
    call.reply_integer(i64::from(is_news));
    Ok(())
}

/// A region that is known has copies of what others have used, too. Those of one that is not known are not taken, and hold up
/// nothing else: they are counted as refused, and the log says so once. Returns how many there were.
fn drop_strangers(payload: &mut Payload, own: Region) -> u64 {
    regions::with(|regions| {
        let known = |region| regions.peers.knows(region, own);
        let mut copy = payload.copy.held();
        let (count, stranger) = copy
            .regional_mut()
            .map_or((0, None), |copy| copy.retain(&known));
        if let (Some(stranger), Some(peer)) = (stranger, regions.peers.of(payload.sender)) {
            peer.refused += count;
            if !std::mem::replace(&mut peer.is_told, true) {
                warning(&format!(
                    "{} has sent what '{stranger}' has used, which ratelimit.regions does not list: it is not counted",
                    payload.sender
                ));
            }
        }
        count
    })
}

/// `RL.HEARD region until-ms [region echo-ms ...]`
pub fn heard(call: &Call) -> Result<(), Error> {
    const REGION: usize = 1;
    let own = own()?;
    let words = call.args();
    let time = |at: usize, what: &'static str| {
        let word = words
            .get(at)
            .ok_or(Error::Incomplete { at, expected: what })?;
        let time = request::integer(word).and_then(|time| u64::try_from(time).ok());
        time.filter(|time| *time <= MAX_TIME_MS)
            .ok_or(Error::Time { at, what })
    };
    let sender = region(&words, REGION)?;
    let until_ms = time(REGION + 1, "until-ms")?;
    let mut echo_ms = None;
    for at in (REGION + 2..words.len()).step_by(2) {
        let of = region(&words, at)?;
        let time_ms = time(at + 1, "echo-ms")?;
        regions::with(|regions| regions.peers.check(of, own))?;
        if of == own {
            echo_ms = Some(time_ms);
        }
    }
    let now_ms = now_ms();
    regions::with(|regions| {
        regions.peers.check(sender, own)?;
        regions.peers.hear(sender, until_ms, echo_ms, now_ms)
    })?;
    call.reply_simple(c"OK");
    Ok(())
}

/// `RL.REGION LIST`: a map from each region's name to what was heard of it.
pub fn list(call: &Call) -> Result<(), Error> {
    own()?;
    let now_ms = now_ms();
    let peers = regions::with(|regions| regions.peers.list().to_vec());
    call.reply_map(peers.len());
    for peer in peers {
        call.reply_bytes(peer.region.to_string().as_bytes());
        let told = peer.told(now_ms);
        call.reply_map(told.len());
        for (name, value) in told {
            call.reply_bytes(name.as_bytes());
            call.reply_integer(value);
        }
    }
    Ok(())
}

/// `RL.REGION FORGET region`: 1 if it was heard of.
pub fn forget(call: &Call) -> Result<(), Error> {
    const REGION: usize = 2;
    let own = own()?;
    let region = region(&call.args(), REGION)?;
    let was_heard = regions::with(|regions| regions.peers.forget(region, own))?;
    call.reply_integer(i64::from(was_heard));
    Ok(())
}

/// `RL.RESET key [key ...]`: how many there were.
pub fn reset(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    own()?;
    let now_ms = now_ms();
    let places = KEY..call.args().len();
    // One that holds something else refuses the call before any is changed.
    for at in places.clone() {
        keys.open_to_read(at).map(Slot::of).transpose()?;
    }
    let mut count = 0;
    for at in places {
        let Some(key) = keys.open_to_write(at) else {
            continue;
        };
        let mut slot = Slot::of(key)?;
        let Some(held) = slot.held_mut() else {
            continue; // there is none, or the call names it twice
        };
        let reset_ms = held
            .regional()
            .map_or(now_ms, |regional| regional.reset_at_ms(now_ms));
        slot.reset(reset_ms, now_ms);
        slot.note_change(now_ms);
        slot.key()
            .replicate(APPLY, &codec::encode_reset(reset_ms, now_ms));
        slot.key().signal_modified();
        count += 1;
    }
    call.reply_count(count);
    Ok(())
}

impl Slot<'_> {
    /// Takes over what another region has sent, and sees to the TTL. Whether it was news.
    pub fn merge(
        &mut self,
        payload: &Payload,
        setting: Merging,
        own: Region,
    ) -> Result<bool, Error> {
        let (limiter, received) = regional::merge(self.held_mut().as_mut(), payload, setting, own)?;
        if let Some(limiter) = limiter {
            self.put(limiter);
        }
        if received.news {
            self.keep_ttl();
        }
        regions::with(|regions| regions.peers.count(payload.sender, own, &received));
        Ok(received.news)
    }

    /// Forgets what was used until then.
    pub fn reset(&mut self, reset_ms: u64, now_ms: u64) {
        let left = self
            .held_mut()
            .map(|mut held| regional::reset(&mut held, reset_ms, now_ms));
        if let Some(left) = left {
            self.leave(left);
        }
    }
}
