//! What any Rust program costs before it does anything: std's own stdin and stdout, and an answer to
//! each line with the name of its first field's value. Its start-up is what others are compared with.

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let action = line.split('"').nth(3).unwrap_or_default();
        writeln!(stdout, r#"{{"action":"status","responseFor":"{action}"}}"#)?;
        stdout.flush()?;
    }
    Ok(())
}
