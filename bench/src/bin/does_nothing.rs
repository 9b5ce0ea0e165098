//! The minimal cost of a Rust program: answers each line with std's stdin and stdout. The start-up
//! time of other children is compared with this one's.

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
