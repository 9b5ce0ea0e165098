//! See [`kcl_samples::bench_processor`].

fn main() -> std::process::ExitCode {
    kcl_samples::bench_processor::main()
}
