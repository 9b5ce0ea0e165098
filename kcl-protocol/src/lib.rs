//! kcl-protocol
