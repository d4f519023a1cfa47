//! Pure: takes the bytes of an answer apart into objects, however they are cut into pieces, so that no list is in
//! memory as a whole.

use thiserror::Error;

/// An object, or what is around the items of a list, has more bytes than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an object of more than {0} bytes")]
pub(super) struct TooLarge(pub(super) usize);

/// The lines of a watch: each is one event.
#[derive(Debug)]
pub(super) struct Lines {
    begun: Vec<u8>,
    bytes_max: usize,
}

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { begun: Vec::new(), bytes_max }
    }

    /// Calls `each` for every line that is complete now.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLarge> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                each(line);
            } else {
                self.begun.extend_from_slice(line);
                each(&self.begun);
                self.begun.clear();
                // A large object is seldom: its buffer need not stay.
                self.begun.shrink_to(KEPT_BYTES);
            }
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() > self.bytes_max { Err(TooLarge(self.bytes_max)) } else { Ok(()) }
    }
}

/// Buffer that stays between objects, bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// The elements of `items` of a list, one after the other, and the rest of it at the end.
#[derive(Debug)]
pub(super) struct Items {
    /// Braces and brackets that are open.
    depth: usize,
    text: Text,
    /// The last string directly within the list: the name of the field, when a value begins.
    name: Vec<u8>,
    within: Within,
    item: Vec<u8>,
    /// The list without its items.
    around: Vec<u8>,
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    List,
    Items,
    Item,
}

impl Items {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            depth: 0,
            text: Text::Outside,
            name: Vec::new(),
            within: Within::List,
            item: Vec::new(),
            around: Vec::new(),
            bytes_max,
        }
    }

    /// Calls `each` for every item that is complete now.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLarge> {
        for &byte in bytes {
            let was = self.within;
            self.step(byte);
            match (was, self.within) {
                (Within::Item, Within::Items) => {
                    self.item.push(byte);
                    each(&self.item);
                    self.item.clear();
                    self.item.shrink_to(KEPT_BYTES);
                }
                (_, Within::Item) => self.item.push(byte),
                // Commas and spaces between items.
                (Within::Items, Within::Items) => {}
                _ => self.around.push(byte),
            }
        }
        let longest = self.item.len().max(self.around.len());
        if longest > self.bytes_max { Err(TooLarge(self.bytes_max)) } else { Ok(()) }
    }

    /// The list with no items: its metadata.
    pub(super) fn around(&self) -> &[u8] {
        &self.around
    }

    fn step(&mut self, byte: u8) {
        match (self.text, byte) {
            (Text::Escaped, _) => self.text = Text::Inside,
            (Text::Inside, b'\\') => self.text = Text::Escaped,
            (Text::Inside, b'"') => self.text = Text::Outside,
            (Text::Inside, _) => {
                if self.depth == 1 {
                    self.name.push(byte);
                }
            }
            (Text::Outside, b'"') => {
                self.text = Text::Inside;
                if self.depth == 1 {
                    self.name.clear();
                }
            }
            (Text::Outside, b'{' | b'[') => {
                self.depth += 1;
                if self.depth == 2 && byte == b'[' && self.name == b"items" {
                    self.within = Within::Items;
                } else if self.depth == 3 && self.within == Within::Items {
                    self.within = Within::Item;
                }
            }
            (Text::Outside, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 2 && self.within == Within::Item {
                    self.within = Within::Items;
                } else if self.depth == 1 && self.within == Within::Items {
                    self.within = Within::List;
                }
            }
            (Text::Outside, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items(text: &str, piece: usize) -> (Vec<String>, String) {
        let mut items = Items::new(1 << 20);
        let mut found = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            items.feed(bytes, |item| found.push(String::from_utf8(item.to_vec()).unwrap())).unwrap();
        }
        (found, String::from_utf8(items.around().to_vec()).unwrap())
    }

    #[test]
    fn the_items_of_a_list_come_one_by_one_whatever_is_written_in_them() {
        let list = r#"{"kind":"items","metadata":{"items":[{"x":1}],"continue":"c"},"items":[
            {"a":"]}\"{","items":[{}]}, {"b":[1,[2]]}],"after":"[items"}"#;
        for piece in [1, 2, 3, 7, 1000] {
            let (found, around) = items(list, piece);
            assert_eq!(found, [r#"{"a":"]}\"{","items":[{}]}"#, r#"{"b":[1,[2]]}"#]);
            let around: serde_json::Value = serde_json::from_str(&around).unwrap();
            assert_eq!(around["metadata"]["continue"], "c");
            assert_eq!(around["items"].as_array().unwrap().len(), 0);
            assert_eq!(around["after"], "[items");
        }
    }

    #[test]
    fn a_list_without_items_is_its_metadata() {
        let (found, around) = items(r#"{"metadata":{"resourceVersion":"7"},"items":null}"#, 4);
        assert!(found.is_empty() && around.contains(r#""resourceVersion":"7""#));
    }

    #[test]
    fn an_object_without_end_is_refused_before_it_fills_the_memory() {
        let mut lines = Lines::new(100);
        assert_eq!(lines.feed(&[b'x'; 101], |_| ()), Err(TooLarge(100)));
        let mut list = Items::new(100);
        list.feed(br#"{"items":["#, |_| ()).unwrap();
        assert_eq!(list.feed(&[b'{'; 101], |_| ()), Err(TooLarge(100)));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(text in "[ab\n]{0,60}", piece in 1_usize..9) {
            let mut lines = Lines::new(1000);
            let mut found = Vec::new();
            for bytes in text.as_bytes().chunks(piece) {
                lines.feed(bytes, |line| found.push(line.to_vec())).unwrap();
            }
            let mut expected: Vec<Vec<u8>> = text.split('\n').map(|l| l.as_bytes().to_vec()).collect();
            expected.pop();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_taken_apart_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut items = Items::new(50);
            let _ = items.feed(&bytes, |_| ());
            let mut lines = Lines::new(50);
            let _ = lines.feed(&bytes, |_| ());
        }
    }
}
