//! The program `kcl-helper`.

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    kcl_helper::run()
}

// The library says why there is nothing to run.
#[cfg(not(unix))]
fn main() {}
