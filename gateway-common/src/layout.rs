//! The one macro that says "this type may lie in a map".

/// `abi!(Type, bytes)` asserts the size of a type that lies in a map.
///
/// Every field of `Type` must be a `u32`, a `u64`, a byte array or another `abi!` type, and their sizes
/// must add up to `bytes`: then there is no padding and every bit pattern is a value.
macro_rules! abi {
    ($type:ty, $bytes:literal) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $bytes);
    };
}

pub(crate) use abi;
