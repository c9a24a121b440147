//! Goes into the copy of the crate: which mutant is switched on. Each place where there are mutants asks here. Nothing is
//! kept allocated, as there are tests that count what is.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::LazyLock;

struct Switch {
    mutant: u32,
    /// Where the places that are reached are written down.
    reached: Option<File>,
}

static SWITCH: LazyLock<Switch> = LazyLock::new(|| {
    // The first test that fails is enough.
    std::panic::set_hook(Box::new(|_| std::process::exit(101)));
    let number = std::env::var("MUTANT").ok();
    let path = std::env::var_os("MUTANTS_REACHED");
    Switch {
        mutant: number.map_or(0, |number| number.parse().unwrap()),
        reached: path.map(|path| File::options().append(true).open(path).unwrap()),
    }
});

static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

/// The mutant that is on, 0 for none. `place` is the first of this place's.
pub fn on(place: u32) -> u32 {
    let switch = &*SWITCH;
    if let Some(mut file) = switch.reached.as_ref() {
        let seen = &SEEN[place as usize];
        if !seen.load(Ordering::Relaxed) && !seen.swap(true, Ordering::Relaxed) {
            writeln!(file, "{place}").unwrap();
        }
    }
    switch.mutant
}
