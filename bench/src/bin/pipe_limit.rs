//! The speed limit of the pipe: reads and answers lines without decoding them.

fn main() -> std::io::Result<()> {
    kcl_bench::Child::new()?.run(|_| {})
}
