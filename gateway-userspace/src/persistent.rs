//! Pure: maps that are copied at the cost of a pointer for each small part. Copies share all that is equal.
//!
//! Desired state, tables and routers change by one object at a time and are large: a change must cost
//! its own size, and the state before it must stay whole for whoever still reads it.

mod hashed;
mod ordered;

pub use hashed::HashedMap;
pub use ordered::OrderedMap;
