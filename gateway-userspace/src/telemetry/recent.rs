//! Pure: the last requests, for `weir explain --id`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::record::Record;

/// A window over the newest records. Bounded; the oldest goes first.
#[derive(Debug)]
pub struct Recent {
    records: VecDeque<Arc<Record>>,
    records_max: usize,
}

impl Recent {
    /// Remembers up to `records_max`.
    pub fn new(records_max: usize) -> Self {
        Self { records: VecDeque::new(), records_max }
    }

    /// Remembers one more.
    pub fn push(&mut self, record: Arc<Record>) {
        if self.records.len() >= self.records_max {
            self.records.pop_front();
        }
        if self.records_max > 0 {
            self.records.push_back(record);
        }
    }

    /// The newest record with this request id, or trace id in hex.
    pub fn find(&self, id: &str) -> Option<Arc<Record>> {
        let trace = parse_trace_id(id);
        let same = |r: &&Arc<Record>| {
            r.text.request_id() == id.as_bytes() && !id.is_empty() || trace.is_some() && r.trace_id == trace
        };
        self.records.iter().rev().find(same).map(Arc::clone)
    }

    /// All of them, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter().rev()
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

    fn record(id: &str, trace: Option<[u8; 16]>) -> Arc<Record> {
        Arc::new(Record { text: said("cart.shop", "/items", "curl/8", id), trace_id: trace, ..example() })
    }

    #[test]
    fn a_record_is_found_by_its_request_id_and_by_its_trace_id() {
        let mut recent = Recent::new(10);
        recent.push(record("a", Some([0xab; 16])));
        recent.push(record("b", None));
        assert_eq!(recent.find("b").unwrap().text.request_id(), b"b");
        assert_eq!(recent.find(&"ab".repeat(16)).unwrap().text.request_id(), b"a");
        assert!(recent.find(&"AB".repeat(16)).is_some());
        assert!(recent.find("").is_none() && recent.find("c").is_none());
    }

    #[test]
    fn only_the_newest_records_are_remembered() {
        let mut recent = Recent::new(3);
        for n in 0..10 {
            recent.push(record(&n.to_string(), None));
        }
        assert!(recent.find("6").is_none());
        assert!(recent.find("7").is_some());
        assert_eq!(recent.iter().next().unwrap().text.request_id(), b"9");
    }
}
