#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kcl_fuzz_targets::run("from_daemon", bytes));
