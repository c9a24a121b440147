//! Runs the tests: each alone to see what it reaches, then for each mutant those that reach it.

use crate::mutate::Mutant;
use crate::record::Record;
use crate::Result;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, iter, thread};

/// What one test may take, of the processor's time: so it does not matter what else runs.
const BUDGET: Duration = Duration::from_secs(1);
/// Tests that together take less than this run in one process.
const BATCH: Duration = Duration::from_millis(200);
/// Of one process: a mutant that takes more would not end.
const MEMORY_KB: u64 = 4 << 20;

pub struct Test {
    /// The program that it is in.
    binary: PathBuf,
    name: String,
    time: Duration,
    /// Whether it ends within the budget. One that tries things at random for longer is cut off there, mutant or not.
    ends: bool,
    /// The first mutants of the places that it reaches.
    reached: BTreeSet<u32>,
}

/// All tests, quick ones first, and what each reaches.
pub fn tests(binaries: &[PathBuf], record: &mut Record) -> Result<Vec<Test>> {
    let mut names = Vec::new();
    for binary in binaries {
        let mut command = Command::new(binary);
        let list = command.args(["--list", "--format", "terse"]).output()?;
        let list = String::from_utf8(list.stdout)?;
        let of_tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
        names.extend(of_tests.map(|name| (binary, name.to_owned())));
    }
    let mut tests = Vec::new();
    let reach = |(binary, name): &(&PathBuf, String)| reach(binary, name, record);
    in_parallel("tests", &names, reach, |_, test| {
        tests.push(test);
        Ok(true)
    })?;
    tests.sort_by_key(|test| test.time);
    Ok(tests)
}

fn reach(binary: &Path, name: &str, record: &Record) -> Result<Test> {
    let path = record.reach(name);
    if !path.exists() {
        let running = path.with_extension("running");
        fs::write(&running, "")?;
        let mut command = limited(binary, BUDGET, &[name]);
        let run = run(command.env("MUTANTS_REACHED", &running))?;
        if run.ended == Ended::Failed {
            eprintln!("mutants: left out, as it fails also where nothing is changed: {name}");
            fs::write(&running, "")?;
        }
        let (time, ends) = (run.time.as_millis(), run.ended == Ended::Passed);
        let reached = fs::read_to_string(&running)?;
        fs::write(&running, format!("{time} {ends}\n{reached}"))?;
        fs::rename(running, &path)?;
    }
    let text = fs::read_to_string(&path)?;
    let read = || {
        let (head, reached) = text.split_once('\n')?;
        let (time, ends) = head.split_once(' ')?;
        Some(Test {
            binary: binary.to_owned(),
            name: name.to_owned(),
            time: Duration::from_millis(time.parse().ok()?),
            ends: ends.parse().ok()?,
            reached: (reached
                .lines()
                .map(str::parse)
                .collect::<std::result::Result<_, _>>())
            .ok()?,
        })
    };
    read().ok_or_else(|| format!("{} cannot be read", path.display()).into())
}

/// Tries what was not tried yet.
pub fn try_all(tests: &[Test], mutants: &[&Mutant], record: &mut Record) -> Result<()> {
    // With the test that noticed it last time.
    let open: Vec<_> = (mutants.iter())
        .filter(|mutant| record.is_noticed(mutant.id).is_none())
        .map(|mutant| (mutant, record.noticed_by(&mutant.name).map(str::to_owned)))
        .collect();
    let try_one = |(mutant, last): &(&&Mutant, Option<String>)| {
        let reaching = reaching(mutant, tests);
        noticed_by(mutant.id, &reaching, last.as_deref())
    };
    in_parallel("changes", &open, try_one, |(mutant, _), noticed_by| {
        record.add(mutant.id, &mutant.name, noticed_by.as_deref())?;
        Ok(noticed_by.is_some())
    })
}

/// The tests that reach a mutant, quick ones first.
pub fn reaching<'a>(mutant: &Mutant, tests: &'a [Test]) -> Vec<&'a Test> {
    let is_reaching = |test: &&Test| test.reached.contains(&mutant.place);
    tests.iter().filter(is_reaching).collect()
}

/// The test that fails or does not end: the one that did last time is tried first.
fn noticed_by(id: u32, tests: &[&Test], last: Option<&str>) -> Result<Option<String>> {
    let last = tests
        .iter()
        .position(|test| Some(test.name.as_str()) == last);
    let last = last.map(|at| &tests[at..=at]);
    for tests in last.into_iter().chain(batches(tests)) {
        let names: Vec<_> = tests.iter().map(|test| test.name.as_str()).collect();
        let time: Duration = tests.iter().map(|test| test.time).sum();
        let all_end = tests.iter().all(|test| test.ends);
        let limit = if all_end { BUDGET + 3 * time } else { BUDGET };
        let mut command = limited(&tests[0].binary, limit, &names);
        let run = run(command.env("MUTANT", id.to_string()))?;
        if run.ended == Ended::Failed || (run.ended == Ended::OutOfTime && all_end) {
            return Ok(Some(run.last));
        }
    }
    Ok(None)
}

/// Quick tests together, as far as they are in one program; slow ones alone.
fn batches<'a, 'b>(mut tests: &'b [&'a Test]) -> impl Iterator<Item = &'b [&'a Test]> {
    iter::from_fn(move || {
        let mut time = Duration::ZERO;
        let is_over = |test: &&Test| {
            time += test.time;
            time > BATCH || test.binary != tests[0].binary
        };
        let over = tests.iter().position(is_over).unwrap_or(tests.len());
        let (batch, rest) = tests.split_at_checked(over.max(1))?;
        tests = rest;
        Some(batch)
    })
}

/// The tests of these names, one after another, with so much of the processor's time.
fn limited(binary: &Path, time: Duration, names: &[&str]) -> Command {
    let (seconds, memory) = (time.as_secs(), MEMORY_KB);
    let limits = format!("ulimit -t {seconds} && ulimit -v {memory}");
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{limits} && TIMEFORMAT=%U && time \"$@\"")])
        .arg("bash")
        .arg(binary)
        .args(["--test-threads=1", "--exact"])
        .args(names);
    command
}

struct Run {
    ended: Ended,
    /// Of the processor's.
    time: Duration,
    /// The test that ran last.
    last: String,
}

#[derive(PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    OutOfTime,
}

/// As a shell has them.
const SIGKILL: i32 = 128 + 9;
const SIGXCPU: i32 = 128 + 24;

fn run(command: &mut Command) -> Result<Run> {
    let output = command.output()?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // Each test's name is printed before it runs.
    let name = |line: &str| Some(line.strip_prefix("test ")?.split(' ').next()?.to_owned());
    Ok(Run {
        ended: match output.status.code() {
            Some(0) => Ended::Passed,
            Some(SIGKILL | SIGXCPU) => Ended::OutOfTime,
            _ => Ended::Failed,
        },
        time: Duration::from_secs_f64(stderr.lines().last().unwrap_or_default().parse()?),
        last: stdout.lines().rev().find_map(name).unwrap_or_default(),
    })
}

/// Does all of it, as many at a time as JOBS says (2), and shows how far it is. `done` says whether it was a success.
fn in_parallel<T: Sync, R: Send>(
    what: &str,
    work: &[T],
    act: impl Fn(&T) -> Result<R> + Sync,
    mut done: impl FnMut(&T, R) -> Result<bool>,
) -> Result<()> {
    let jobs = env::var("JOBS").map_or(Ok(2), |jobs| jobs.parse::<usize>())?;
    let next = AtomicUsize::new(0);
    let (start, mut shown, mut missed) = (Instant::now(), Instant::now(), 0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, act) = (sender.clone(), &next, &act);
            scope.spawn(move || {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((item, act(item))).is_err() {
                        break; // another one failed
                    }
                }
            });
        }
        drop(sender);
        for (count, (item, result)) in (1_u32..).zip(receiver) {
            missed += usize::from(!done(item, result?)?);
            let left = work.len() - count as usize;
            if shown.elapsed() > Duration::from_secs(10) || left == 0 {
                shown = Instant::now();
                let seconds = (start.elapsed() / count).as_secs_f64() * left as f64;
                let all = work.len();
                eprintln!(
                    "mutants: {what}: {count} of {all}, {missed} not noticed, {seconds:.0} s left"
                );
            }
        }
        Ok(())
    })
}
