//! HTTP/1 on the wire (RFC 9112), the same for both sides of the gateway: heads, body framing, what was read and what waits to be written.
//!
//! Why a codec of our own: what a gateway must refuse (two framings, bare line feeds, ambiguous targets) has to be seen before a
//! library has made one meaning of it, and an idle connection must hold no buffer. `httparse` does the tokenizing.

pub mod chunked;
#[cfg(any(test, fuzzing))]
pub mod comparison;
pub mod decode;
pub mod encode;
pub mod framing;
pub mod head;
pub mod incoming;
pub mod names;
pub mod outgoing;
