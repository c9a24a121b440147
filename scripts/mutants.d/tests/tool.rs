//! The tool on a toy: a crate with mutants of which it is known who notices them.

use std::path::Path;
use std::process::Command;

fn run(home: &Path) -> (Option<i32>, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/toy");
    let output = Command::new(env!("CARGO_BIN_EXE_mutants"))
        .args([&root, home])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code(),
        text.lines().map(str::to_owned).collect(),
    )
}

#[test]
fn what_no_test_notices_is_told() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("toy");
    let _ = std::fs::remove_dir_all(&home); // what was found the last time
    let expected = [
        "explained, but no longer there: src/core/mod.rs digits: digits += 1 → /=",
        "not reached, line 9: src/core/mod.rs twice: returns 0",
        "not reached, line 9: src/core/mod.rs twice: returns 1",
        "not reached, line 10: src/core/mod.rs twice: number * 2 → +",
        "not reached, line 10: src/core/mod.rs twice: number * 2 → /",
        "not noticed, line 27: src/core/mod.rs kind: number > 9 → >=",
        "24 changes: 18 noticed, 1 explained, 5 that no test noticed (1 more do not compile)",
    ];
    for _ in 0..2 {
        // The second time from what was kept.
        let (status, lines) = run(&home);
        assert_eq!(lines, expected);
        assert_eq!(status, Some(1));
    }
}
