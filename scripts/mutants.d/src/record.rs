//! What was found, kept in files, so that an interrupted run goes on where it was.

use crate::read::{files, targets};
use crate::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

pub struct Record {
    directory: PathBuf,
    dropped: BTreeSet<u32>,
    /// Of these sources: by mutant, whether it was noticed.
    results: HashMap<u32, bool>,
    results_file: File,
    /// Of these sources and of ones before them: by a mutant's name, the test that noticed it.
    noticed_by: BTreeMap<String, String>,
    noticed_by_file: File,
}

impl Record {
    /// A new one, where a source or this tool was changed.
    pub fn open(home: &Path, root: &Path) -> Result<Self> {
        let directory = home.join("record");
        let mut hasher = DefaultHasher::new();
        fs::read(std::env::current_exe()?)?.hash(&mut hasher);
        let mut paths = files(root, Path::new("src"))?;
        for path in targets(root)?.into_values() {
            match path.parent() {
                Some(parent) if path.ends_with("main.rs") => paths.extend(files(root, parent)?),
                _ => paths.extend([path]),
            }
        }
        for path in paths {
            (&path, fs::read(root.join(&path))?).hash(&mut hasher);
        }
        let hash = format!("{:x}\n", hasher.finish());
        if fs::read_to_string(directory.join("sources")).ok() != Some(hash.clone()) {
            let _ = fs::remove_dir_all(&directory); // there may be none
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("sources"), hash)?;
        }
        let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let (results, noticed_by) = (directory.join("results"), home.join("noticed-by"));
        let result = |line: &str| {
            let (id, is_noticed) = line.split_once(' ')?;
            Some((id.parse().ok()?, is_noticed == "noticed"))
        };
        let pair = |line: &str| {
            line.split_once('\t')
                .map(|(name, test)| (name.to_owned(), test.to_owned()))
        };
        let dropped = lines(&directory.join("dropped"));
        Ok(Self {
            dropped: dropped.lines().filter_map(|id| id.parse().ok()).collect(),
            results: lines(&results).lines().filter_map(result).collect(),
            results_file: append(&results)?,
            noticed_by: lines(&noticed_by).lines().filter_map(pair).collect(),
            noticed_by_file: append(&noticed_by)?,
            directory,
        })
    }

    pub fn is_dropped(&self, id: u32) -> bool {
        self.dropped.contains(&id)
    }

    pub fn dropped(&self) -> usize {
        self.dropped.len()
    }

    pub fn drop(&mut self, ids: &BTreeSet<u32>) -> Result<()> {
        self.dropped.extend(ids);
        let lines: String = self.dropped.iter().map(|id| format!("{id}\n")).collect();
        Ok(fs::write(self.directory.join("dropped"), lines)?)
    }

    /// Where a test's reach is written.
    pub fn reach(&self, test: &str) -> PathBuf {
        self.directory
            .join(format!("reach-{}", test.replace("::", "-")))
    }

    pub fn is_noticed(&self, id: u32) -> Option<bool> {
        self.results.get(&id).copied()
    }

    pub fn noticed_by(&self, name: &str) -> Option<&str> {
        self.noticed_by.get(name).map(String::as_str)
    }

    /// A result: the test that noticed it, if one did.
    pub fn add(&mut self, id: u32, name: &str, noticed_by: Option<&str>) -> Result<()> {
        self.results.insert(id, noticed_by.is_some());
        writeln!(
            self.results_file,
            "{id} {}",
            if noticed_by.is_some() {
                "noticed"
            } else {
                "missed"
            }
        )?;
        if let Some(test) = noticed_by.filter(|test| self.noticed_by(name) != Some(test)) {
            writeln!(self.noticed_by_file, "{name}\t{test}")?;
            self.noticed_by.insert(name.to_owned(), test.to_owned());
        }
        Ok(())
    }
}
