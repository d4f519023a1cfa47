//! Where requests go: which endpoint, how often, over which connection.

pub mod balance;
pub mod budget;
pub mod outlier_detection;
pub mod retry;
