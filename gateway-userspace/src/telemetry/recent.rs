//! Pure: the last requests, for `weir explain --id`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::record::Record;

/// Records that were read together, and are kept together.
pub type Batch = Arc<[Record]>;

/// A window over the newest records. Bounded; the oldest go first.
#[derive(Debug)]
pub struct Recent {
    /// The oldest first. All but one of them are needed for so many records as are remembered.
    batches: VecDeque<Batch>,
    /// Records in all of them.
    len: usize,
    records_max: usize,
}

impl Recent {
    /// Remembers up to `records_max`.
    pub fn new(records_max: usize) -> Self {
        Self { batches: VecDeque::new(), len: 0, records_max }
    }

    /// Remembers some more, the oldest of them first.
    pub fn push(&mut self, batch: Batch) {
        self.len += batch.len();
        self.batches.push_back(batch);
        while let Some(oldest) = self.batches.front()
            && self.len - oldest.len() >= self.records_max
        {
            self.len -= oldest.len();
            self.batches.pop_front();
        }
    }

    /// The newest record with this request id, or trace id in hex.
    pub fn find(&self, id: &str) -> Option<Record> {
        let trace = parse_trace_id(id);
        let same = |r: &&Record| {
            r.text.request_id() == id.as_bytes() && !id.is_empty() || trace.is_some() && r.trace_id == trace
        };
        self.iter().find(same).cloned()
    }

    /// All of them, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().rev().flat_map(|batch| batch.iter().rev()).take(self.records_max)
    }
}

/// 32 hexadecimal digits (W3C Trace Context, section 3.2.2.3).
fn parse_trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::{example, said};

    fn record(id: &str, trace: Option<[u8; 16]>) -> Record {
        Record { text: said("cart.shop", "/items", "curl/8", id), trace_id: trace, ..example() }
    }

    #[test]
    fn a_record_is_found_by_its_request_id_and_by_its_trace_id() {
        let mut recent = Recent::new(10);
        recent.push([record("a", Some([0xab; 16])), record("b", None)].into());
        assert_eq!(recent.find("b").unwrap().text.request_id(), b"b");
        assert_eq!(recent.find(&"ab".repeat(16)).unwrap().text.request_id(), b"a");
        assert!(recent.find(&"AB".repeat(16)).is_some());
        assert!(recent.find("").is_none() && recent.find("c").is_none());
    }

    #[test]
    fn only_the_newest_records_are_remembered_however_they_came() {
        for size in [1, 2, 3, 5] {
            let mut recent = Recent::new(3);
            for batch in (0..10).collect::<Vec<_>>().chunks(size) {
                recent.push(batch.iter().map(|n: &i32| record(&n.to_string(), None)).collect());
                assert!(recent.batches.len() <= 3 && recent.len < 3 + size);
            }
            let ids: Vec<_> = recent.iter().map(|record| record.text.request_id()).collect();
            assert_eq!(ids, [b"9", b"8", b"7"], "{size} at once");
        }
        let mut nothing = Recent::new(0);
        nothing.push([record("a", None)].into());
        assert!(nothing.batches.is_empty());
    }
}
