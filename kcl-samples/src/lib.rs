//! Sample record processors, each a module with a `main` that its binary calls. They live in a
//! library so that `kcl-helper local --sample` runs the same code.

pub mod bench_processor;
pub mod sample_kcl_app;
