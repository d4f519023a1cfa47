//! Pure: what a request says of itself, as its record keeps it: owned, and all of it in one piece of memory.

/// A request id of the gateway's own making has as many bytes.
const REQUEST_ID_BYTES: usize = 36;

/// One of the words.
#[derive(Debug, Clone, Copy)]
enum Word {
    Authority,
    Path,
    UserAgent,
    RequestId,
}

/// The bytes that a client sent, whatever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// One word behind the other, in their order.
    bytes: Vec<u8>,
    /// Where each word ends.
    ends: [usize; 4],
}

impl Text {
    /// With room for a request id, which is known later.
    pub fn new(authority: &[u8], path: &[u8], user_agent: &[u8]) -> Self {
        let length = authority.len() + path.len() + user_agent.len();
        let mut bytes = Vec::with_capacity(length + REQUEST_ID_BYTES);
        for word in [authority, path, user_agent] {
            bytes.extend_from_slice(word);
        }
        Self { bytes, ends: [authority.len(), authority.len() + path.len(), length, length] }
    }

    /// `:authority` or Host as the client sent it.
    pub fn authority(&self) -> &[u8] {
        self.get(Word::Authority)
    }

    /// Path without query, in its normal form.
    pub fn path(&self) -> &[u8] {
        self.get(Word::Path)
    }

    /// The path has another normal form than the one that was sent.
    pub fn set_path(&mut self, path: &[u8]) {
        self.set(Word::Path, path);
    }

    /// `User-Agent`.
    pub fn user_agent(&self) -> &[u8] {
        self.get(Word::UserAgent)
    }

    /// `x-request-id`; made by the gateway when the client sent none.
    pub fn request_id(&self) -> &[u8] {
        self.get(Word::RequestId)
    }

    /// The request goes by this id.
    pub fn set_request_id(&mut self, id: &[u8]) {
        self.set(Word::RequestId, id);
    }

    fn begin(&self, word: Word) -> usize {
        (word as usize).checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn get(&self, word: Word) -> &[u8] {
        &self.bytes[self.begin(word)..self.ends[word as usize]]
    }

    fn set(&mut self, word: Word, value: &[u8]) {
        let (begin, end) = (self.begin(word), self.ends[word as usize]);
        if end == self.bytes.len() {
            self.bytes.truncate(begin);
            self.bytes.extend_from_slice(value);
        } else {
            self.bytes.splice(begin..end, value.iter().copied());
        }
        for later in &mut self.ends[word as usize..] {
            *later = *later - (end - begin) + value.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Text;

    proptest! {
        #[test]
        fn each_word_is_what_it_was_last_set_to(
            words in any::<[Vec<u8>; 3]>(), id: Vec<u8>, path: Vec<u8>, again: Vec<u8>,
        ) {
            let [authority, first, user_agent] = &words;
            let mut text = Text::new(authority, first, user_agent);
            prop_assert_eq!((text.path(), text.request_id()), (&first[..], &b""[..]));
            text.set_request_id(&id);
            text.set_path(&path);
            prop_assert_eq!((text.path(), text.request_id()), (&path[..], &id[..]));
            text.set_request_id(&again);
            prop_assert_eq!((text.authority(), text.path()), (&authority[..], &path[..]));
            prop_assert_eq!((text.user_agent(), text.request_id()), (&user_agent[..], &again[..]));
        }
    }

    #[test]
    fn an_id_of_our_own_needs_no_more_memory() {
        let mut text = Text::new(b"cart.shop", b"/items", b"curl/8");
        let before = text.bytes.capacity();
        text.set_request_id(&[b'x'; 36]);
        assert_eq!(text.bytes.capacity(), before);
    }
}
