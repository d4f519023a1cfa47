//! Pure: a hash that is the same in every version and on every machine, unlike those of the standard library.

/// FNV-1a, 32 bits. For names and numbers that nodes and controllers must agree on without asking each other.
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
