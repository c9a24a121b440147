//! What is read of the crate: its files, and parts of its source.

use crate::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;

/// All files under a directory, from the root, in order.
pub fn files(root: &Path, directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root.join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.path().is_dir() {
            found.append(&mut files(root, &path)?);
        } else {
            found.insert(path);
        }
    }
    Ok(found)
}

/// The tests of the core alone that need no server to talk to, by name.
pub fn targets(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut targets = BTreeMap::new();
    for path in files(root, Path::new("tests"))? {
        let parts: Vec<_> = path.iter().filter_map(OsStr::to_str).collect();
        let name = match parts[..] {
            [_, file] => file.strip_suffix(".rs"),
            [_, name, "main.rs"] => Some(name),
            _ => None,
        };
        if let Some(name) = name {
            let text = fs::read_to_string(root.join(&path))?;
            let needs_none = text.contains("\n#![cfg(not(feature = \"server\"))]");
            if needs_none && !text.contains("\nmod support;") {
                targets.insert(name.to_owned(), path);
            }
        }
    }
    Ok(targets)
}

/// The source of a part of it, on one line.
pub fn squeeze(of: &impl Spanned) -> String {
    one_line(&of.span().source_text().unwrap_or_default())
}

/// The same, of a text.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
