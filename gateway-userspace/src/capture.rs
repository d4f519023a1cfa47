//! Which pods are captured: their network namespaces, listeners and kernel entries.
