//! kcl-runtime
