//! Pure: a checksum over a key and its value, by which a reader knows that the two belong together.
//!
//! A hash map of the kernel may hand a deleted element to another key while a reader still looks at
//! it. The reader copies the value and compares the seal: a mixture of two writes is seen and read
//! again, so nobody acts on half a Service or on another Service's endpoint.

/// Mixes words into one. Not a defence against an attacker: only the gateway writes these maps.
#[inline(always)]
pub const fn mix(seal: u32, word: u32) -> u32 {
    // Odd multiplier and a rotation: each word changes the seal, and so does the order.
    (seal.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b1)
}

/// [`mix`] over several words.
#[inline(always)]
pub const fn mix_all<const N: usize>(mut seal: u32, words: [u32; N]) -> u32 {
    let mut i = 0;
    while i < N {
        seal = mix(seal, words[i]);
        i += 1;
    }
    seal
}

/// The starting value of every seal; all-zero memory is never validly sealed.
pub const START: u32 = 0x5765_6972;
