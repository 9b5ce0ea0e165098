//! The limit that the pipe sets: lines are read and answered, and nobody looks inside.

fn main() -> std::io::Result<()> {
    kcl_bench::Child::new()?.run(|_| {})
}
