//! Settings of regions: this server's own name, the names that are known, and how the share rule holds hits.

use super::text::{LastTold, TextSetting};
use crate::core::region::origin::Region;
use crate::core::region::peers::{Known, Sharing, MAX_KNOWN};
use crate::server::raw::Loading;
use redis_module::configuration::{
    ConfigurationContext, ConfigurationValue, EnumConfigurationValue,
};
use redis_module::{RedisError, RedisString};
use std::sync::atomic::{AtomicU64, Ordering};

const REGION_NAME: &str = "region";
const KNOWN_NAME: &str = "regions";
const SHARING_NAME: &str = "region-share";

/// Their names, for an error.
pub const NAMES: [&str; 3] = [REGION_NAME, KNOWN_NAME, SHARING_NAME];

/// Registers them.
pub fn add(loading: &Loading) {
    loading.add_text_setting(REGION_NAME, &REGION, "");
    loading.add_text_setting(KNOWN_NAME, &KNOWN, "");
    loading.add_choice(SHARING_NAME, &SHARING, SharingChoice(1));
}

/// Does what a load argument says; `None` where it is of no setting of regions.
pub fn set(name: &[u8], value: &[u8]) -> Option<Result<(), String>> {
    let refused = |name: &str, text: String| Err(format!("ratelimit: {name}: {text}"));
    if name == REGION_NAME.as_bytes() {
        let is_taken = REGION.take(value);
        return Some(if is_taken {
            Ok(())
        } else {
            refused(REGION_NAME, REGION_EXPECTED.to_owned())
        });
    }
    if name == KNOWN_NAME.as_bytes() {
        return Some(KNOWN.take(value).or_else(|text| refused(KNOWN_NAME, text)));
    }
    (name == SHARING_NAME.as_bytes()).then(|| take_sharing(value))
}

/// The setting `region`: this server's region, as a number; 0 where it has none.
pub struct RegionSetting {
    number: AtomicU64,
    told: LastTold,
}

/// See [`RegionSetting`].
pub static REGION: RegionSetting = RegionSetting {
    number: AtomicU64::new(0),
    told: LastTold::nothing(),
};

const REGION_EXPECTED: &str = "a region is from 1 to 8 bytes of a-z, 0-9 and -, or nothing";

impl RegionSetting {
    /// Whether there is one.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.number.load(Ordering::Relaxed) != 0
    }

    /// The region.
    pub fn get(&self) -> Option<Region> {
        Region::of_number(self.number.load(Ordering::Relaxed))
    }

    /// Takes a name, or none. Whether it is one.
    fn take(&self, name: &[u8]) -> bool {
        let region = match name {
            [] => Some(Region::UNNAMED),
            name => Region::parse(name),
        };
        if let Some(region) = region {
            self.number.store(region.number(), Ordering::Relaxed);
        }
        region.is_some()
    }
}

impl ConfigurationValue<RedisString> for RegionSetting {
    fn get(&self, _: &ConfigurationContext) -> RedisString {
        let name = RegionSetting::get(self).map(|region| region.to_string());
        self.told.tell(name.unwrap_or_default())
    }

    fn set(&self, _: &ConfigurationContext, name: RedisString) -> Result<(), RedisError> {
        if self.take(name.as_slice()) {
            Ok(())
        } else {
            Err(RedisError::Str(REGION_EXPECTED))
        }
    }
}

/// The setting `regions`: those that are known.
static KNOWN: TextSetting = TextSetting::new(KNOWN_NAME, check_known);

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

/// The setting `region-share`.
struct SharingSetting(AtomicU64);

static SHARING: SharingSetting = SharingSetting(AtomicU64::new(1));

/// One of [`Sharing::ALL`], by its place.
#[derive(Clone)]
pub struct SharingChoice(i32);

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

impl ConfigurationValue<SharingChoice> for SharingSetting {
    fn get(&self, _: &ConfigurationContext) -> SharingChoice {
        let place = self.0.load(Ordering::Relaxed);
        SharingChoice(i32::try_from(place).unwrap_or(1))
    }

    fn set(&self, _: &ConfigurationContext, choice: SharingChoice) -> Result<(), RedisError> {
        let place = u64::try_from(choice.0).unwrap_or(1);
        self.0.store(place, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether and how the share rule holds hits.
pub fn sharing() -> Sharing {
    let place = usize::try_from(SHARING.0.load(Ordering::Relaxed)).unwrap_or(1);
    Sharing::ALL
        .get(place)
        .map_or(Sharing::Open, |(sharing, _)| *sharing)
}

fn take_sharing(value: &[u8]) -> Result<(), String> {
    let mut words = Sharing::ALL.iter().map(|(_, word)| word.as_bytes());
    let place = words.position(|word| word == value);
    let place = place.ok_or("ratelimit: region-share must be no, open or strict")?;
    SHARING.0.store(place as u64, Ordering::Relaxed);
    Ok(())
}
