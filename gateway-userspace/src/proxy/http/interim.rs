//! Interim answers (RFC 9110 15.2) on their way to the client that waits for the answer itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use http::header::{CONTENT_LENGTH, TRAILER};
use http::{StatusCode, response};

use super::headers;
use crate::limits::INTERIM_ANSWERS_MAX;

/// Those to one request. Who asks the endpoint puts them in, who answers the client takes them out; both are
/// one task, so that nobody has to be woken.
#[derive(Debug, Default)]
pub struct Interim {
    waiting: RefCell<VecDeque<response::Parts>>,
    count: Cell<u32>,
}

/// An endpoint sends more of them than there may be, or switches protocols unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Interim {
    /// The endpoint has sent one. 100 is not passed on: its client has been asked for the body of its request
    /// by us (RFC 9110 10.1.1).
    ///
    /// # Errors
    /// `Refused` when that cannot be.
    pub fn put(&self, mut parts: response::Parts) -> Result<(), Refused> {
        self.count.set(self.count.get() + 1);
        if self.count.get() > INTERIM_ANSWERS_MAX || parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refused);
        }
        if parts.status != StatusCode::CONTINUE {
            headers::strip_hop_by_hop(&mut parts.headers);
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.remove(TRAILER);
            self.waiting.borrow_mut().push_back(parts);
        }
        Ok(())
    }

    /// The next one for the client.
    pub fn take(&self) -> Option<response::Parts> {
        self.waiting.borrow_mut().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};

    use super::{INTERIM_ANSWERS_MAX, Interim, Refused};

    fn answer(status: u16) -> http::response::Parts {
        let answer = Response::builder().status(status).header("link", "</a>").header("connection", "x");
        answer.header("content-length", "8").body(()).unwrap().into_parts().0
    }

    #[test]
    fn hints_are_passed_on_without_what_belongs_to_a_connection_and_100_is_not() {
        let interim = Interim::default();
        for status in [100, 103, 102] {
            assert_eq!(interim.put(answer(status)), Ok(()));
        }
        let first = interim.take().unwrap();
        assert_eq!((first.status, first.headers.len()), (StatusCode::from_u16(103).unwrap(), 1));
        assert_eq!(interim.take().map(|parts| parts.status), Some(StatusCode::PROCESSING));
        assert!(interim.take().is_none());
    }

    #[test]
    fn there_are_not_many_and_no_switch_that_nobody_asked_for() {
        let interim = Interim::default();
        assert!((0..INTERIM_ANSWERS_MAX).all(|_| interim.put(answer(103)).is_ok()));
        assert_eq!(interim.put(answer(103)), Err(Refused));
        assert_eq!(Interim::default().put(answer(101)), Err(Refused));
    }
}
