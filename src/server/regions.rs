//! What this server knows of other regions, behind one guard: the ring of keys that have changed, and who was heard. None of it
//! is saved, sent on, or part of any key.

use super::config;
use super::raw::{is_main_thread, random_seeds, warning, Key};
use crate::core::limit::Algorithm;
use crate::core::limiter::regional::Local;
use crate::core::quote::regional::LocalRegion;
use crate::core::region::origin::Region;
use crate::core::region::peers::Peers;
use crate::core::region::ring::Ring;
use std::cell::RefCell;

/// The ring, and who was heard.
pub struct Regions {
    /// Keys that have changed.
    pub ring: Ring,
    /// Other regions.
    pub peers: Peers,
    /// Which this one was when it was last asked: of another name, nobody has acknowledged anything.
    name: Option<Region>,
    /// Whether the log has said that any name is taken.
    is_told: bool,
}

struct Guarded(RefCell<Option<Regions>>);

// SAFETY: the server runs commands and events on one thread, or, where it has others, under one lock; a forked child has its
// own copy, and asks for none of it.
unsafe impl Sync for Guarded {}

static REGIONS: Guarded = Guarded(RefCell::new(None));

/// Gives access to it. `body` calls nothing that could come back here.
pub fn with<T>(body: impl FnOnce(&mut Regions) -> T) -> T {
    debug_assert!(is_main_thread());
    let mut regions = REGIONS.0.borrow_mut();
    let regions = regions.get_or_insert_with(|| {
        let name = config::REGION.get();
        let mut peers = Peers::default();
        peers.set_known(config::known(), name);
        Regions {
            ring: Ring::new(random_seeds()[0]),
            peers,
            name,
            is_told: false,
        }
    });
    let name = config::REGION.get();
    if regions.name != name {
        regions.name = name;
        regions.peers.clear(name);
        regions.ring.clear();
    }
    body(regions)
}

/// Goes by the settings as they are now.
pub fn take_settings() {
    with(|regions| {
        let known = config::known();
        if regions.peers.known() != &known {
            regions.peers.set_known(known, regions.name);
        }
    });
}

/// Says so in the log, once, where no region is listed: whoever may send usage may do so under any name.
pub fn check_names() {
    with(|regions| {
        let takes_any = regions.name.is_some() && regions.peers.known().is_empty();
        if takes_any && !regions.is_told {
            warning(
                "ratelimit.regions is empty: usage that is sent under any region's name is counted. \
                 List the regions that are known: CONFIG SET ratelimit.regions \"eu us\"",
            );
        }
        regions.is_told = takes_any;
    });
}

/// Which region this one is, for a hit; `None` where none is set, and for leases, which regions do not share.
pub fn here(algorithm: Algorithm, now_ms: u64) -> Option<LocalRegion> {
    let region = config::REGION.get()?;
    (algorithm != Algorithm::Lease).then(|| {
        with(|regions| LocalRegion {
            region,
            term: regions.ring.term(),
            due: regions.ring.due(),
            share: regions.peers.share(region, config::sharing(), now_ms),
        })
    })
}

/// Notes that a key has changed, unless it is noted already for whoever reads next.
pub fn note(key: &Key, local: &mut Local, now_ms: u64) {
    if !config::REGION.is_set() {
        return;
    }
    with(|regions| {
        // The server is asked last: it takes a hundred instructions to answer.
        if local.entry < regions.ring.due() && !key.is_loading() {
            let most = config::REGION_CHANGES.get();
            local.entry = regions
                .ring
                .append(key.name(), key.database(), now_ms, most);
        }
    });
}

/// This server has come to be a primary, or a replica: what its keys hold may be older than what others have of it, and nobody
/// has told it anything.
pub fn begin_term() {
    with(|regions| {
        regions.ring.begin_term();
        regions.peers.clear(regions.name);
    });
}
