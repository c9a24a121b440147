//! Settings of regions: this server's own name, the names that are known, and how the share rule holds hits.

use super::text::TextSetting;
use crate::core::region::origin::Region;
use crate::core::region::peers::{Known, Sharing, MAX_KNOWN};
use redis_module::configuration::{
    ConfigurationContext, ConfigurationValue, EnumConfigurationValue,
};
use redis_module::RedisError;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The setting `region`.
pub static NAME: TextSetting = TextSetting::new("region", "", take_name);

/// This server's region, as a number; 0 where it has none.
pub struct OwnRegion(AtomicU64);

/// See [`OwnRegion`].
pub static REGION: OwnRegion = OwnRegion(AtomicU64::new(0));

impl OwnRegion {
    /// Whether there is one.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The region.
    pub fn get(&self) -> Option<Region> {
        Region::of_number(self.0.load(Ordering::Relaxed))
    }
}

/// Takes a name, or none.
fn take_name(name: &[u8]) -> Result<String, String> {
    let region = match name {
        [] => Some(Region::UNNAMED),
        name => Region::parse(name),
    };
    let region = region.ok_or("a region is from 1 to 8 bytes of a-z, 0-9 and -, or nothing")?;
    REGION.0.store(region.number(), Ordering::Relaxed);
    Ok(region.to_string())
}

/// The setting `regions`: those that are known.
pub static KNOWN: TextSetting = TextSetting::new("regions", "", check_known);

/// The regions that are known; any, where none is listed.
pub fn known() -> Known {
    Known::parse(KNOWN.text().as_bytes()).unwrap_or_default() // it was read when it was set
}

/// A list of names between spaces or commas, told with spaces.
fn check_known(text: &[u8]) -> Result<String, String> {
    let known = Known::parse(text).ok_or_else(|| {
        format!(
            "expected at most {MAX_KNOWN} names of regions between spaces or commas, each of 1 to {} bytes of a-z, 0-9 and -",
            Region::MAX_BYTES
        )
    })?;
    Ok(known.to_string())
}

/// The setting `region-share`: a place in [`Sharing::ALL`].
pub static SHARING: AtomicI32 = AtomicI32::new(SharingChoice::OPEN.0);

/// Its name behind `ratelimit.`.
pub const SHARING_NAME: &str = "region-share";

/// One of [`Sharing::ALL`], by its place.
#[derive(Clone)]
pub struct SharingChoice(i32);

impl SharingChoice {
    /// What it is unless somebody says otherwise.
    pub const OPEN: Self = Self(1);
}

impl TryFrom<i32> for SharingChoice {
    type Error = RedisError;

    fn try_from(place: i32) -> Result<Self, RedisError> {
        Ok(Self(place))
    }
}

impl From<SharingChoice> for i32 {
    fn from(choice: SharingChoice) -> Self {
        choice.0
    }
}

impl EnumConfigurationValue for SharingChoice {
    fn get_options(&self) -> (Vec<String>, Vec<i32>) {
        let names = Sharing::ALL.map(|(_, name)| name.to_owned());
        (names.into(), (0..).take(Sharing::ALL.len()).collect())
    }
}

impl ConfigurationValue<SharingChoice> for AtomicI32 {
    fn get(&self, _: &ConfigurationContext) -> SharingChoice {
        SharingChoice(self.load(Ordering::Relaxed))
    }

    fn set(&self, _: &ConfigurationContext, choice: SharingChoice) -> Result<(), RedisError> {
        self.store(choice.0, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether and how the share rule holds hits.
pub fn sharing() -> Sharing {
    let place = usize::try_from(SHARING.load(Ordering::Relaxed)).ok();
    let sharing = place.and_then(|place| Sharing::ALL.get(place));
    sharing.map_or(Sharing::Open, |(sharing, _)| *sharing)
}

/// Takes the word of a load argument.
pub fn take_sharing(word: &[u8]) -> Result<(), String> {
    let mut places = (0..).zip(Sharing::ALL);
    let place = places.find(|(_, (_, name))| name.as_bytes() == word);
    let (place, _) = place.ok_or("ratelimit: region-share must be no, open or strict")?;
    SHARING.store(place, Ordering::Relaxed);
    Ok(())
}
