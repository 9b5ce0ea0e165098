//! The fixtures' lines of children that are no child's message, said to `local` by a real child: as
//! the daemon does, it names and skips each that is not blank, and goes on; at the line `null` it
//! stops.
#![allow(clippy::unwrap_used)] // a test may

use kcl_fixtures::{Folder, Stage, awkward_child};

#[test]
fn unreadable_lines_of_children_are_named_and_skipped() {
    let stage = Stage::new();
    stage.write("input", "one record\n");
    let mut said = 0;
    for fixture in kcl_fixtures::messages(Folder::InvalidFromChild) {
        // The child takes the line as an argument, which must be text.
        let Ok(line) = str::from_utf8(&fixture.line) else { continue };
        let status = format!("status={line}");
        let child = ["--", &awkward_child(), &status];
        let mut command = stage.helper(&["local", "-i", "input", "--reset"]);
        let output = command.args(child).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let (status, text) = if fixture.name.starts_with("null") {
            (5, "got the line `null` instead of a message")
        } else if line.trim().is_empty() {
            (0, "done in")
        } else {
            (0, "shard 0: skipped a line on stdout")
        };
        assert_eq!(output.status.code(), Some(status), "{}: {stderr}", fixture.name);
        assert!(stderr.contains(text), "{}: {stderr}", fixture.name);
        said += 1;
    }
    assert!(said >= 25, "{said}");
}
