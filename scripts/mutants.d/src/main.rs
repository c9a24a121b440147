//! Tells which changes of a crate's code no test notices.
//!
//! ```text
//! mutants ROOT HOME [PATH...]     of the crate in ROOT: the files and directories named, relative to it; else src/core
//! ```
//!
//! Every mutant (one changed spot) is compiled into one copy of the crate in HOME, behind a switch that the environment
//! turns ([`mutate`], `switch.rs`); the few that do not compile are taken out ([`build`]). Each test is run once to see how
//! long it takes and which mutants it reaches; then each mutant meets the tests that reach it, quick ones first, until one
//! fails or runs out of time ([`run`]). What was found is kept in HOME until any source changes, and who noticed a mutant
//! is remembered beyond that ([`record`]).
//!
//! ROOT/tests/mutants.md lists the mutants that make no difference, and why: they are not tried. The exit status is 1 if
//! another one was not noticed.

mod build;
mod mutate;
mod read;
mod record;
mod run;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is changed where no path is named.
const SCOPE: &str = "src/core";
const EXPLAINED: &str = "tests/mutants.md";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1).map(PathBuf::from);
    let (Some(root), Some(home)) = (args.next(), args.next()) else {
        eprintln!("usage: mutants ROOT HOME [PATH...]");
        return ExitCode::from(2);
    };
    match mutants(&root, &home, &args.collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all are noticed or explained.
fn mutants(root: &Path, home: &Path, paths: &[PathBuf]) -> Result<bool> {
    let sources = mutate::read(root, Path::new(SCOPE))?;
    let explained = explained(root)?;
    let mut record = record::Record::open(home, root)?;
    let binaries = build::build(root, home, &sources, &mut record)?;
    let tests = run::tests(&binaries, &mut record)?;

    let is_wanted =
        |file: &Path| paths.is_empty() || paths.iter().any(|path| file.starts_with(path));
    let all: Vec<_> = (sources.iter().filter(|source| is_wanted(&source.path)))
        .flat_map(|source| &source.mutants)
        .collect();
    let mut gone = explained.clone();
    for mutant in &all {
        gone.remove(&mutant.name);
    }
    gone.retain(|name| is_wanted(Path::new(name.split(' ').next().unwrap_or_default())));
    for name in &gone {
        println!("explained, but no longer there: {name}");
    }

    let (dropped, all): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|mutant| record.is_dropped(mutant.id));
    let (known, open): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|mutant| explained.contains(&mutant.name));
    run::try_all(&tests, &open, &mut record)?;
    let is_missed = |mutant: &&&mutate::Mutant| record.is_noticed(mutant.id) == Some(false);
    let missed: Vec<_> = open.iter().filter(is_missed).collect();
    for mutant in &missed {
        let is_reached = !run::reaching(mutant, &tests).is_empty();
        let why = if is_reached {
            "not noticed"
        } else {
            "not reached"
        };
        println!("{why}, line {}: {}", mutant.line, mutant.name);
    }
    println!(
        "{} changes: {} noticed, {} explained, {} that no test noticed ({} more do not compile)",
        open.len() + known.len(),
        open.len() - missed.len(),
        known.len(),
        missed.len(),
        dropped.len(),
    );
    Ok(missed.is_empty() && gone.is_empty())
}

/// The names of the mutants that cannot be noticed: the list's items that are code.
fn explained(root: &Path) -> Result<BTreeSet<String>> {
    let path = root.join(EXPLAINED);
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(path)?;
    let name = |line: &str| Some(line.strip_prefix("- `")?.strip_suffix('`')?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}
