//! Pure: which way a call goes, and why not another.

pub mod endpoint;
