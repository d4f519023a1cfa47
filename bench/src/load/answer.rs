//! Pure: as much of HTTP/1.1 as it takes to see where an answer ends.

/// Most header fields of an answer.
const FIELDS_MAX: usize = 64;

/// What is known after some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    More,
    /// It is complete; `close` when the connection ends with it.
    Whole { status: u16, close: bool },
}

/// An answer that is being read. Ready for the next one when it is complete.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Vec<u8>,
    status: u16,
    close: bool,
    rest: Option<Rest>,
}

#[derive(Debug)]
enum Rest {
    Bytes(usize),
    /// Of a chunked body only its end is looked for; this is the tail of what was read.
    Chunks(Vec<u8>),
}

/// How a chunked body without trailers ends.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Answer {
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<Progress, &'static str> {
        if self.rest.is_none() {
            let Some(used) = self.take_head(bytes)? else { return Ok(Progress::More) };
            bytes = &bytes[used..];
        }
        let done = match &mut self.rest {
            Some(Rest::Bytes(left)) => {
                if bytes.len() > *left {
                    return Err("more than one answer");
                }
                *left -= bytes.len();
                *left == 0
            }
            Some(Rest::Chunks(tail)) => {
                tail.extend_from_slice(bytes);
                let done = tail.ends_with(LAST_CHUNK);
                tail.drain(..tail.len().saturating_sub(LAST_CHUNK.len()));
                done
            }
            None => false,
        };
        if !done {
            return Ok(Progress::More);
        }
        self.rest = None;
        Ok(Progress::Whole { status: self.status, close: self.close })
    }

    /// How many of these bytes end the head; `None` when it goes on.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let before = self.head.len();
        let whole = if before == 0 {
            bytes
        } else {
            self.head.extend_from_slice(bytes);
            &self.head
        };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(whole) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => {
                if before == 0 {
                    self.head.extend_from_slice(bytes);
                }
                return Ok(None);
            }
            Err(_) => return Err("not HTTP"),
        };
        self.status = head.code.ok_or("no status")?;
        self.close = false;
        let mut rest = None;
        for field in head.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).map_err(|_| "content-length")?;
                rest = Some(Rest::Bytes(text.trim().parse().map_err(|_| "content-length")?));
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                rest = Some(Rest::Chunks(Vec::new()));
            } else if field.name.eq_ignore_ascii_case("connection") {
                self.close = field.value.eq_ignore_ascii_case(b"close");
            }
        }
        self.rest = Some(rest.ok_or("no length")?);
        self.head.clear();
        Ok(Some(length - before))
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Progress};

    fn read(pieces: &[&str]) -> Vec<Result<Progress, &'static str>> {
        let mut answer = Answer::default();
        pieces.iter().map(|piece| answer.take(piece.as_bytes())).collect()
    }

    #[test]
    fn the_end_is_found_however_the_answer_is_cut() {
        let text = "HTTP/1.1 503 Sorry\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        for cut in 1..text.len() {
            let (a, b) = text.split_at(cut);
            let whole = Progress::Whole { status: 503, close: true };
            assert_eq!(read(&[a, b]), [Ok(Progress::More), Ok(whole)], "cut at {cut}");
        }
    }

    #[test]
    fn chunks_end_with_the_last_one_and_the_next_answer_follows() {
        let whole = Ok(Progress::Whole { status: 200, close: false });
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        let pieces = [chunked, "0\r\n\r", "\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"];
        assert_eq!(read(&pieces), [Ok(Progress::More), Ok(Progress::More), whole, whole]);
    }
}
