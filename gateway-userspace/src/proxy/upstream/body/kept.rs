//! Pure: the beginning of a body, kept so that it can be sent again.

use bytes::Bytes;
use smallvec::SmallVec;

/// What was taken out of a body, by reference, up to a limit.
#[derive(Debug)]
pub(super) struct Kept {
    /// `None` when it is not whole any more.
    pieces: Option<SmallVec<[Bytes; 1]>>,
    /// Bytes that may still be kept.
    room: usize,
    /// Pieces that were given out again since the rewind.
    next: usize,
}

impl Kept {
    /// Keeps up to `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { pieces: Some(SmallVec::new()), room: bytes_max, next: 0 }
    }

    /// That piece was taken for the first time.
    pub(super) fn keep(&mut self, piece: &Bytes) {
        let Some(pieces) = &mut self.pieces else { return };
        match self.room.checked_sub(piece.len()) {
            Some(room) => {
                self.room = room;
                pieces.push(piece.clone());
                self.next = pieces.len();
            }
            None => self.forget(),
        }
    }

    /// Nothing is kept from now on, and no rewind is possible.
    pub(super) fn forget(&mut self) {
        self.pieces = None;
    }

    /// Starts again from the beginning. False when that is not there any more.
    pub(super) fn rewind(&mut self) -> bool {
        self.next = 0;
        self.pieces.is_some()
    }

    /// The next piece to be given out again.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.as_ref()?.get(self.next)?;
        self.next += 1;
        Some(piece.clone())
    }

    /// Bytes to be given out again.
    pub(super) fn left(&self) -> u64 {
        self.pieces
            .iter()
            .flat_map(|pieces| pieces.iter().skip(self.next))
            .map(|piece| piece.len() as u64)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Kept;

    #[test]
    fn what_was_kept_comes_again_in_order_and_only_as_a_whole() {
        let mut kept = Kept::new(5);
        kept.keep(&Bytes::from_static(b"ab"));
        kept.keep(&Bytes::from_static(b"cd"));
        assert_eq!((kept.next(), kept.left()), (None, 0));
        assert!(kept.rewind());
        assert_eq!(kept.left(), 4);
        assert_eq!(
            (kept.next().unwrap(), kept.next().unwrap(), kept.next()),
            ("ab".into(), "cd".into(), None)
        );
        kept.keep(&Bytes::from_static(b"e"));
        assert!(kept.rewind());
        kept.keep(&Bytes::from_static(b"f"));
        assert!(!kept.rewind());
        assert_eq!((kept.next(), kept.left()), (None, 0));
    }
}
