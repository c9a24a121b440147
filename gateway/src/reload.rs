//! Files that are read again when they change. They are looked at once a second: that sees an edit, a rename over the old
//! file and the swapped link of a mounted ConfigMap alike. A file that cannot be read or is wrong leaves the old
//! configuration in force.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::yaml::FILE_BYTES;

pub const EVERY: Duration = Duration::from_secs(1);
/// Files of one directory.
const FILES: usize = 10_000;

/// What tells one state of the files from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(Vec<(PathBuf, Option<SystemTime>, u64)>);

/// The files of a directory, and of those in it, sorted by name.
pub fn list(directory: &Path, ignore_dot_files: bool) -> Result<State, String> {
    let mut found = Vec::new();
    let mut left = vec![(directory.to_owned(), 0)];
    while let Some((path, depth)) = left.pop() {
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        for entry in std::fs::read_dir(&path).map_err(told)? {
            let entry = entry.map_err(told)?;
            if ignore_dot_files && entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let meta = std::fs::metadata(entry.path())
                .map_err(|error| format!("{}: {error}", entry.path().display()))?;
            if meta.is_dir() && depth < 8 {
                left.push((entry.path(), depth + 1));
            } else if meta.is_file() {
                found.push((entry.path(), meta.modified().ok(), meta.len()));
            }
            if found.len() > FILES {
                return Err(format!("{}: more than {FILES} files", directory.display()));
            }
        }
    }
    found.sort();
    Ok(State(found))
}

/// One file's state.
pub fn one(path: &Path) -> Result<State, String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(State(vec![(
        path.to_owned(),
        meta.modified().ok(),
        meta.len(),
    )]))
}

/// The files with what is in them, under the names that errors call them: `config.d.basic.yaml` for `config/d/basic.yaml`.
pub fn read(state: &State, root: &Path) -> Result<Vec<(String, String)>, String> {
    state
        .0
        .iter()
        .map(|(path, _, size)| {
            let shown = path.display();
            if usize::try_from(*size).map_or(true, |size| size > FILE_BYTES) {
                return Err(format!("{shown}: larger than {FILE_BYTES} bytes"));
            }
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(path)
                .to_string_lossy()
                .replace('/', ".");
            Ok((name, text))
        })
        .collect()
}
