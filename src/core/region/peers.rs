//! What was heard from other regions, and what they have acknowledged: of the node, not of a key.
//!
//! | of region `o` | meaning |
//! |---|---|
//! | heard | a time of `o`'s clock: all that `o` had changed until then has been merged here |
//! | echo | a time of this server's clock: all that it had changed until then has been merged at `o` |
//!
//! No clock is compared with another's. Neither is saved: a server that has just started, or been promoted, has heard nobody.

use super::origin::Region;
use super::share::Share;
use crate::core::algorithm::joint::Received;
use crate::core::error::Error;
use crate::core::limit::MAX_REGIONS;
use arrayvec::ArrayVec;
use std::fmt;

/// How long a region counts as heard, besides the time between the last two times it was.
const HEARD_MS: u64 = 2_000;

/// The longest such time that is believed.
const LONGEST_GAP_MS: u64 = 10_000;

/// Whether the share rule holds hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It does not.
    No,
    /// Of the regions that are heard; one that is not does not count.
    Open,
    /// Of all regions that are listed, heard or not; where none is, of all that were ever heard, until they are forgotten.
    Strict,
}

impl Sharing {
    /// All, in the order of their numbers as a setting.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::No, "no"),
        (Self::Open, "open"),
        (Self::Strict, "strict"),
    ];
}

/// The most regions that may be listed.
pub const MAX_KNOWN: usize = 16;

/// The regions that are known, by name. Where none is listed, every region is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(ArrayVec<Region, MAX_KNOWN>);

impl Known {
    /// Reads names between spaces or commas; `None` where one is not a name, or there are too many.
    ///
    /// ```
    /// use ratelimit::core::region::peers::Known;
    /// assert_eq!(Known::parse(b"us, eu  ap,us").unwrap().to_string(), "ap eu us");
    /// assert!(Known::parse(b" ").unwrap().is_empty());
    /// assert_eq!(Known::parse(b"eu EU"), None);
    /// ```
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut known = ArrayVec::new();
        let names = text.split(|byte| matches!(byte, b' ' | b','));
        for name in names.filter(|name| !name.is_empty()) {
            let region = Region::parse(name)?;
            if !known.contains(&region) {
                known.try_push(region).ok()?;
            }
        }
        known.sort_unstable();
        Some(Self(known))
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a region is listed.
    pub fn lists(&self, region: Region) -> bool {
        self.0.contains(&region)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, region) in self.0.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(out, "{space}{region}")?;
        }
        Ok(())
    }
}

/// What is known of one region.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// Which.
    pub region: Region,
    /// See the head of this file; 0 where nothing was heard.
    pub heard_ms: u64,
    /// See the head of this file; 0 where nothing was acknowledged.
    pub echo_ms: u64,
    /// When it was heard last, by this server's clock; 0 where it was not.
    pub at_ms: u64,
    /// Between the last two times.
    gap_ms: u64,
    /// Keys that it has sent.
    pub merges: u64,
    /// Of them, those that had something new.
    pub news: u64,
    /// Windows and origins that were not taken.
    pub refused: u64,
    /// Whether it was told of in the log that some of them are of regions that are not known.
    pub is_told: bool,
}

impl Peer {
    /// What is told of it, by name: times as how long ago they were, -1 for never.
    pub fn told(&self, now_ms: u64) -> [(&'static str, i64); 6] {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let ago = |at_ms: u64| match at_ms {
            0 => -1,
            at_ms => signed(now_ms.saturating_sub(at_ms)),
        };
        [
            ("heard_ms", signed(self.heard_ms)),
            ("heard_ms_ago", ago(self.at_ms)),
            ("echo_ms_ago", ago(self.echo_ms)),
            ("merges", signed(self.merges)),
            ("news", signed(self.news)),
            ("refused", signed(self.refused)),
        ]
    }

    fn is_heard(&self, now_ms: u64) -> bool {
        self.at_ms > 0 && now_ms.abs_diff(self.at_ms) < HEARD_MS + self.gap_ms
    }
}

/// The regions that this server has heard of, or that are listed, by name.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    list: Vec<Peer>,
    known: Known,
}

impl Peers {
    /// All, by name.
    pub fn list(&self) -> &[Peer] {
        &self.list
    }

    /// The regions that are listed.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Lists the regions that are known. What was heard of others is forgotten.
    pub fn set_known(&mut self, known: Known, own: Option<Region>) {
        self.known = known;
        if !self.known.is_empty() {
            let known = &self.known;
            self.list
                .retain(|peer| Some(peer.region) == own || known.lists(peer.region));
        }
        for peer in &mut self.list {
            peer.is_told = false;
        }
        self.add_listed(own);
    }

    /// One that is listed is told of before it is heard, as one that was not.
    fn add_listed(&mut self, own: Option<Region>) {
        for region in self.known.0.clone() {
            if Some(region) != own {
                self.of(region);
            }
        }
    }

    /// Whether what a region has used is counted.
    pub fn knows(&self, region: Region, own: Region) -> bool {
        self.known.is_empty() || region == own || self.known.lists(region)
    }

    /// An error where a region is not known.
    ///
    /// # Errors
    /// See there.
    pub fn check(&self, region: Region, own: Region) -> Result<(), Error> {
        if self.knows(region, own) {
            Ok(())
        } else {
            Err(Error::UnknownRegion { region })
        }
    }

    /// A region's, to change it; `None` where it is new and there is no room.
    pub fn of(&mut self, region: Region) -> Option<&mut Peer> {
        let found = self.list.binary_search_by_key(&region, |peer| peer.region);
        let place = match found {
            Ok(place) => place,
            Err(_) if self.list.len() >= MAX_REGIONS => return None,
            Err(place) => {
                let peer = Peer {
                    region,
                    ..Peer::default()
                };
                self.list.insert(place, peer);
                place
            }
        };
        self.list.get_mut(place)
    }

    /// A region says: you have had all of mine until then, and of yours I have had all until `echo_ms`.
    ///
    /// # Errors
    /// A region that is new, where there is no room.
    pub fn hear(
        &mut self,
        region: Region,
        until_ms: u64,
        echo_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), Error> {
        let peer = self.of(region).ok_or(Error::TooManyRegions)?;
        // Nothing is said by 0, as within a pass. One that is told of a time long past has stepped back its clock: what it said
        // before says nothing of now. (A message that is only late is not that late, and the next one mends it.)
        let has_stepped = (1..peer.heard_ms.saturating_sub(LONGEST_GAP_MS)).contains(&until_ms);
        peer.heard_ms = if has_stepped {
            until_ms
        } else {
            peer.heard_ms.max(until_ms)
        };
        // This server's clock may have stepped back: what it said before says nothing of now.
        let before_ms = if peer.echo_ms > now_ms {
            0
        } else {
            peer.echo_ms
        };
        let echo_ms = echo_ms.filter(|echo_ms| *echo_ms <= now_ms);
        peer.echo_ms = before_ms.max(echo_ms.unwrap_or(0));
        peer.gap_ms = match peer.at_ms {
            0 => 0,
            at_ms => now_ms.saturating_sub(at_ms).min(LONGEST_GAP_MS),
        };
        peer.at_ms = now_ms;
        Ok(())
    }

    /// Forgets a region. Whether it was heard of.
    ///
    /// # Errors
    /// One that is listed, and one that is not while others are.
    pub fn forget(&mut self, region: Region, own: Region) -> Result<bool, Error> {
        if self.known.lists(region) {
            return Err(Error::ListedRegion { region });
        }
        self.check(region, own)?;
        let before = self.list.len();
        self.list.retain(|peer| peer.region != region);
        Ok(self.list.len() < before)
    }

    /// Forgets what was heard and acknowledged: this server, now `own`, is not the one any more that it was said to.
    pub fn clear(&mut self, own: Option<Region>) {
        self.list.clear();
        self.add_listed(own);
    }

    /// Notes what became of a key that a region has sent. (One for which there is no room any more is not told of.)
    pub fn count(&mut self, sender: Region, own: Region, received: &Received) {
        if let Some(peer) = self.of(sender) {
            peer.merges += 1;
            peer.news += u64::from(received.news);
            peer.refused += received.refused;
        }
        if received.own_news && sender != own {
            if let Some(peer) = self.of(own) {
                peer.news += 1;
            }
        }
    }

    /// What the share rule goes by now; `None` where it holds nothing.
    pub fn share(&self, own: Region, sharing: Sharing, now_ms: u64) -> Option<Share> {
        let (mut regions, mut rank) = (1, 0);
        let (mut acknowledged_ms, mut heard_ms) = (u64::MAX, u64::MAX);
        for peer in self.list.iter().filter(|peer| peer.region != own) {
            let counts = match sharing {
                Sharing::No => false,
                Sharing::Open => peer.is_heard(now_ms),
                Sharing::Strict => peer.at_ms > 0 || !self.known.is_empty(),
            };
            if counts {
                regions += 1;
                rank += u64::from(peer.region < own);
                let is_ahead = peer.echo_ms > now_ms; // the clock has stepped back
                acknowledged_ms = acknowledged_ms.min(if is_ahead { 0 } else { peer.echo_ms });
                heard_ms = heard_ms.min(peer.heard_ms);
            }
        }
        (regions > 1).then(|| Share {
            regions,
            rank,
            acknowledged_ms,
            heard_ms,
            retry_ms: (now_ms - acknowledged_ms).clamp(1, HEARD_MS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_share_is_of_those_that_are_heard() {
        let mut peers = Peers::default();
        let [eu, us, ap] = ["eu", "us", "ap"].map(region);
        assert_eq!(peers.share(eu, Sharing::Open, 10_000), None);
        peers.hear(us, 5, Some(9_000), 10_000).unwrap();
        peers.hear(ap, 4, Some(8_500), 10_000).unwrap();
        peers.hear(eu, 3, Some(1), 10_000).unwrap(); // a second primary of this name
        let share = peers.share(eu, Sharing::Open, 10_100).unwrap();
        assert_eq!((share.regions, share.rank), (3, 1));
        assert_eq!((share.acknowledged_ms, share.retry_ms), (8_500, 1_600));
        assert_eq!(share.heard_ms, 4);
        assert_eq!(peers.share(eu, Sharing::No, 10_100), None);
        // Heard every second, each has a second more than 2.
        peers.hear(us, 6, Some(10_500), 11_000).unwrap();
        let share = peers.share(eu, Sharing::Open, 13_500).unwrap();
        assert_eq!((share.regions, share.acknowledged_ms), (2, 10_500));
        assert_eq!(peers.share(eu, Sharing::Open, 20_000), None);
        let strict = peers.share(eu, Sharing::Strict, 20_000).unwrap();
        assert_eq!((strict.regions, strict.acknowledged_ms), (3, 8_500));
        assert_eq!(peers.forget(ap, eu), Ok(true));
        assert_eq!(peers.forget(ap, eu), Ok(false));
        assert_eq!(peers.share(eu, Sharing::Strict, 20_000).unwrap().regions, 2);
        assert_eq!(peers.list().len(), 2);
        peers.clear(Some(eu));
        assert_eq!(peers.list().len(), 0);
    }

    #[test]
    fn a_region_is_heard_for_two_seconds_and_has_its_rank_by_name() {
        let mut peers = Peers::default();
        let [ap, eu, us] = ["ap", "eu", "us"].map(region);
        peers.hear(ap, 5, Some(10_000), 10_000).unwrap();
        peers.hear(eu, 5, Some(10_000), 10_000).unwrap();
        let share = peers.share(us, Sharing::Open, 10_000).unwrap();
        assert_eq!((share.rank, share.acknowledged_ms), (2, 10_000));
        assert_eq!(share.retry_ms, 1);
        assert_eq!(peers.share(ap, Sharing::Open, 10_000).unwrap().rank, 0);
        assert!(peers.share(us, Sharing::Open, 11_999).is_some());
        assert_eq!(peers.share(us, Sharing::Open, 12_000), None);
        // One that has sent keys and told nothing was never heard.
        let mut peers = Peers::default();
        peers.count(us, eu, &Received::default());
        for sharing in [Sharing::Open, Sharing::Strict] {
            assert_eq!(peers.share(eu, sharing, 1_000), None);
        }
    }

    #[test]
    fn what_became_of_the_keys_that_were_sent_is_counted() {
        let mut peers = Peers::default();
        let [eu, us, ap] = ["eu", "us", "ap"].map(region);
        let mut count = |sender, news, own_news, refused| {
            let received = Received {
                news,
                own_news,
                refused,
            };
            peers.count(sender, eu, &received);
        };
        count(us, true, false, 0);
        count(us, true, true, 3);
        count(us, false, true, 4);
        count(eu, true, true, 0); // a second primary of this name
        count(ap, false, false, 0);
        let counts = |peer: &Peer| (peer.merges, peer.news, peer.refused);
        let counts: Vec<_> = peers.list().iter().map(counts).collect();
        assert_eq!(counts, [(1, 0, 0), (1, 3, 0), (3, 2, 7)]);
    }

    #[test]
    fn times_only_grow_unless_the_clock_steps_back() {
        let mut peers = Peers::default();
        let us = region("us");
        peers.hear(us, 50, Some(900), 1_000).unwrap();
        peers.hear(us, 40, Some(800), 1_000).unwrap();
        peers.hear(us, 40, None, 1_000).unwrap();
        let peer = peers.list()[0];
        assert_eq!((peer.heard_ms, peer.echo_ms), (50, 900));
        peers.hear(us, 60, Some(5_000), 1_000).unwrap();
        assert_eq!(peers.list()[0].echo_ms, 900, "a time to come says nothing");
        peers.hear(us, 60, Some(1_000), 1_000).unwrap();
        peers.hear(us, 60, None, 1_000).unwrap();
        assert_eq!(peers.list()[0].echo_ms, 1_000);
        let heard = |peers: &Peers| peers.list()[0].heard_ms;
        peers.hear(us, 90_000, None, 1_000).unwrap();
        for (until_ms, heard_ms) in [(0, 90_000), (80_000, 90_000), (79_999, 79_999)] {
            peers.hear(us, until_ms, None, 1_000).unwrap();
            assert_eq!(heard(&peers), heard_ms, "its own clock has stepped back");
        }
        let eu = region("eu");
        assert_eq!(
            peers.share(eu, Sharing::Open, 500).unwrap().acknowledged_ms,
            0
        );
        peers.hear(us, 60, Some(400), 500).unwrap();
        assert_eq!(peers.list()[0].echo_ms, 400);
    }

    #[test]
    fn a_region_that_is_not_listed_is_not_known() {
        let mut peers = Peers::default();
        let [eu, us, ap] = ["eu", "us", "ap"].map(region);
        peers.hear(us, 5, Some(9_000), 10_000).unwrap();
        peers.hear(ap, 5, Some(9_000), 10_000).unwrap();
        assert!(peers.knows(ap, eu));
        peers.set_known(Known::parse(b"eu us").unwrap(), Some(eu));
        let heard = |peers: &Peers| {
            let list = peers.list().iter();
            list.map(|peer| (peer.region, peer.heard_ms))
                .collect::<Vec<_>>()
        };
        assert_eq!(heard(&peers), [(us, 5)], "what was heard of it stays");
        assert_eq!(peers.check(us, eu), Ok(()));
        let unknown = Err(Error::UnknownRegion { region: ap });
        assert_eq!(peers.check(ap, eu), unknown);
        assert_eq!(peers.forget(ap, eu).map(|_| ()), unknown);
        let listed = Err(Error::ListedRegion { region: us });
        assert_eq!(peers.forget(us, eu), listed);
        // Its own name is known, listed or not.
        peers.set_known(Known::parse(b"ap").unwrap(), Some(eu));
        assert_eq!(peers.check(eu, eu), Ok(()));
        assert_eq!(heard(&peers), [(ap, 0)], "listed, and not heard");
        peers.set_known(Known::default(), Some(eu));
        assert_eq!(peers.check(us, eu), Ok(()));
    }

    #[test]
    fn strict_counts_what_is_listed_from_the_start() {
        let mut peers = Peers::default();
        let [eu, us, ap] = ["eu", "us", "ap"].map(region);
        let known = Known::parse(b"ap eu us").unwrap();
        peers.set_known(known, Some(eu));
        for _ in 0..2 {
            let share = peers.share(eu, Sharing::Strict, 10_000).unwrap();
            assert_eq!((share.regions, share.rank), (3, 1));
            assert_eq!(share.acknowledged_ms, 0);
            assert_eq!(peers.share(eu, Sharing::Open, 10_000), None);
            peers.hear(ap, 5, Some(9_000), 10_000).unwrap();
            peers.clear(Some(eu)); // promoted, say
        }
        // Of another name, the others are others.
        peers.clear(Some(us));
        let share = peers.share(us, Sharing::Strict, 10_000).unwrap();
        assert_eq!((share.regions, share.rank), (3, 2));
    }

    #[test]
    fn so_many_regions_may_be_listed_and_no_more() {
        let names = |count: usize| {
            let names: Vec<_> = (0..count).map(|number| format!("r{number}")).collect();
            names.join(" ")
        };
        let known = Known::parse(names(MAX_KNOWN).as_bytes()).unwrap();
        assert!(known.lists(region("r15")) && !known.lists(region("r16")));
        assert_eq!(Known::parse(known.to_string().as_bytes()), Some(known));
        assert_eq!(Known::parse(names(MAX_KNOWN + 1).as_bytes()), None);
        assert_eq!(Known::parse(b"eu;us"), None);
    }

    #[test]
    fn there_are_so_many_regions_and_no_more() {
        let mut peers = Peers::default();
        for number in 0..MAX_REGIONS {
            peers
                .hear(region(&format!("r{number}")), 1, None, 1)
                .unwrap();
        }
        assert_eq!(
            peers.hear(region("x"), 1, None, 1),
            Err(Error::TooManyRegions)
        );
        peers.hear(region("r0"), 1, None, 1).unwrap();
    }
}
