//! kcl-samples
