//! Kills the processor with `kill -9` between commit and checkpoint, under `kcl-helper local`.

use std::process::{Command, Stdio};

use rusqlite::Connection;

/// How often the processor must have been killed.
const KILLS: usize = 200;
const CLICKS: u64 = 5_000;

#[test]
fn totals_are_right_after_200_kills() {
    let helper = std::env::var_os("KCL_HELPER").expect("run e2e/clicks.sh, which sets KCL_HELPER");
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().parent().unwrap().join("examples/crashing");
    let mut kills = 0;
    while kills < KILLS {
        let folder = tempfile::tempdir().unwrap();
        let clicks = (0..CLICKS)
            .map(|number| format!("{{\"user\":\"user {}\",\"time\":{number}}}\n", number % 7));
        std::fs::write(folder.path().join("clicks.jsonl"), clicks.collect::<String>()).unwrap();
        loop {
            let output = Command::new(&helper)
                .args(["local", "--shards", "2"])
                .args(["--input", "clicks.jsonl", "--"])
                .arg(&program)
                .current_dir(&folder)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            if output.status.success() {
                break;
            }
            kills += 1;
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("SIGKILL") || stderr.contains("signal 9"), "{stderr}");
            assert!(kills < 100 * KILLS, "it never gets through");
        }
        let db = Connection::open(folder.path().join("clicks.db")).unwrap();
        let total: u64 =
            db.query_row("SELECT sum(count) FROM clicks", [], |row| row.get(0)).unwrap();
        let users: u64 =
            db.query_row("SELECT count(DISTINCT user) FROM clicks", [], |row| row.get(0)).unwrap();
        assert_eq!((total, users), (CLICKS, 7), "after {kills} kills");
    }
    eprintln!("{kills} kills");
}
