//! See [`kcl_samples::sample_kcl_app`].

fn main() -> std::process::ExitCode {
    kcl_samples::sample_kcl_app::main()
}
