//! Compiles the tests with all mutants in them, and takes out those that do not compile.

use crate::mutate::{Mutated, Source};
use crate::read::{files, targets};
use crate::record::Record;
use crate::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The programs that run the crate's own tests and those under `tests` that are made for the core alone.
pub fn build(
    root: &Path,
    home: &Path,
    sources: &[Source],
    record: &mut Record,
) -> Result<Vec<PathBuf>> {
    let copy = home.join("crate");
    link(root, &copy)?;
    let count: usize = sources.iter().map(|source| source.mutants.len()).sum();
    let is_mutated = |path: &PathBuf| sources.iter().any(|source| source.path == *path);
    for path in files(root, Path::new("src"))?
        .iter()
        .filter(|path| !is_mutated(path))
    {
        let mut text = fs::read_to_string(root.join(path))?;
        if path == Path::new("src/lib.rs") {
            text += "\n#[doc(hidden)]\npub mod mutant;\n";
        }
        write(&copy.join(path), &text)?;
    }
    let switch = include_str!("switch.rs");
    let switch = format!("{switch}\nconst COUNT: usize = {};\n", count + 1);
    write(&copy.join("src/mutant.rs"), &switch)?;
    let targets = targets(root)?;
    let targets = targets.keys().map(|name| format!("--test={name}"));
    let targets: Vec<_> = targets.collect();
    loop {
        let mutated: BTreeMap<_, _> = sources
            .iter()
            .map(|source| {
                (
                    source.path.as_path(),
                    source.mutated(|id| record.is_dropped(id)),
                )
            })
            .collect();
        for (path, mutated) in &mutated {
            write(&copy.join(path), &mutated.text)?;
        }
        eprintln!("mutants: compiling {} changes", count - record.dropped());
        let output = Command::new("cargo")
            .args(["test", "--no-run", "--locked", "--no-default-features"])
            .args(["--message-format=short", "--lib"])
            .args(&targets)
            .current_dir(&copy)
            .env("CARGO_TARGET_DIR", fs::canonicalize(home)?.join("build"))
            .env("CARGO_INCREMENTAL", "0") // what is left of an interrupted build is not taken for whole
            .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .env("RUSTFLAGS", "--cap-lints=allow") // a changed spot may well be unreachable
            .output()?;
        let messages = String::from_utf8(output.stderr)?;
        if output.status.success() {
            let executable = |line: &str| {
                let line = line.trim().strip_prefix("Executable ")?;
                Some(line.rsplit_once('(')?.1.trim_end_matches(')').into())
            };
            return Ok(messages.lines().filter_map(executable).collect());
        }
        let blamed: BTreeSet<u32> = messages
            .lines()
            .filter_map(|line| blame(line, &mutated))
            .flatten()
            .collect();
        if blamed.is_empty() {
            return Err(format!(
                "the copy in {} does not compile:\n{messages}",
                copy.display()
            )
            .into());
        }
        record.drop(&blamed)?;
    }
}

/// Whose error it is: `src/core/limit.rs:12:34: error[E0308]: mismatched types`.
fn blame(message: &str, mutated: &BTreeMap<&Path, Mutated>) -> Option<BTreeSet<u32>> {
    let mut parts = message.splitn(4, ':');
    let mutated = mutated.get(Path::new(parts.next()?))?;
    let line: usize = parts.next()?.parse().ok()?;
    let column: usize = parts.next()?.parse().ok()?;
    parts.next()?.trim_start().strip_prefix("error")?;
    let mut lines = mutated.text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(line - 1).map(str::len).sum();
    let (within, _) = lines.next()?.char_indices().nth(column - 1)?;
    Some(mutated.owners(before + within))
}

/// Everything but the sources is linked to.
fn link(root: &Path, copy: &Path) -> Result<()> {
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let link = copy.join(&name);
        if !["src", "target", ".git"].iter().any(|not| name == *not) && !link.is_symlink() {
            symlink(fs::canonicalize(root.join(name))?, link)?;
        }
    }
    Ok(())
}

/// Leaves the file alone where it is right, and so what was compiled from it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text)
}
