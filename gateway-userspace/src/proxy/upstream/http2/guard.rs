//! Pure: tells an endpoint that floods its connection from one that answers on it.
//!
//! Everything that an endpoint sends besides bodies is paid for: heads of answers, interim ones and trailers,
//! PING, SETTINGS, WINDOW_UPDATE, RST_STREAM, GOAWAY, and frames that nobody knows. Requests pay in, and so do
//! bodies of either way; some comes back with time. Header blocks that go on and on, and DATA without a byte,
//! are bounded by the codec.

use std::time::Duration;

use crate::limits::Limits;
use crate::proxy::bucket::Bucket;
use crate::proxy::http2::frame::{Frame, Kind};

/// Frames that one request may lead to: an interim answer or two, head, trailers, a reset, windows.
const CREDIT_PER_REQUEST: u32 = 8;
/// Frames that a frame of a request's body may lead to: windows of stream and connection, a PING.
const CREDIT_PER_DATA: u32 = 4;
/// One more for as many bytes of it.
const CREDIT_BYTES: u32 = 2048;

/// The endpoint floods its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

/// The account of one connection.
#[derive(Debug)]
pub(super) struct Guard {
    frames: Bucket,
    /// The highest stream that was opened.
    highest: u32,
}

impl Guard {
    /// Of a connection that begins now.
    pub(super) fn new(limits: &Limits) -> Self {
        let frames = Bucket::new(limits.http2_control_burst, limits.http2_frames_per_second);
        Self { frames, highest: 0 }
    }

    /// Time has passed. `now` counts from the beginning of the connection.
    pub(super) fn tick(&mut self, now: Duration) {
        self.frames.fill(now);
    }

    /// A frame of the endpoint.
    pub(super) fn received(&mut self, frame: &Frame) -> Result<(), Flood> {
        if frame.kind == Kind::Data && (frame.length > 0 || frame.ends_stream) {
            // Some ask how far away we are for each piece that they send.
            self.frames.give(1);
            return Ok(());
        }
        if self.frames.take() { Ok(()) } else { Err(Flood) }
    }

    /// A frame to the endpoint.
    pub(super) fn sent(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Headers if frame.stream > self.highest => {
                self.highest = frame.stream;
                self.frames.give(CREDIT_PER_REQUEST);
            }
            Kind::Data => self.frames.give(CREDIT_PER_DATA + frame.length / CREDIT_BYTES),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, stream: u32, length: u32) -> Frame {
        Frame { kind, stream, length, ends_stream: false, ends_headers: true }
    }

    #[test]
    fn each_frame_that_leads_to_nothing_is_cut_at_a_thousand() {
        for kind in [Kind::Ping, Kind::Pong, Kind::Settings, Kind::WindowUpdate, Kind::GoAway, Kind::Other] {
            let mut guard = Guard::new(&Limits::default());
            let borne = (0..5000).take_while(|_| guard.received(&frame(kind, 0, 8)).is_ok()).count();
            assert_eq!(borne, 1000, "{kind:?}");
        }
    }

    #[test]
    fn who_answers_never_runs_out() {
        let mut guard = Guard::new(&Limits::default());
        for number in 0..100_000 {
            let stream = 2 * number + 1;
            guard.sent(&frame(Kind::Headers, stream, 60));
            guard.sent(&frame(Kind::Data, stream, 5));
            for kind in [Kind::WindowUpdate, Kind::Ping, Kind::WindowUpdate, Kind::Headers, Kind::Headers] {
                assert_eq!(guard.received(&frame(kind, stream, 5)), Ok(()), "{number}");
            }
        }
    }

    #[test]
    fn a_body_pays_for_a_ping_with_each_piece() {
        let mut guard = Guard::new(&Limits::default());
        for _ in 0..100_000 {
            assert_eq!(guard.received(&frame(Kind::Data, 1, 1)), Ok(()));
            assert_eq!(guard.received(&frame(Kind::Ping, 0, 8)), Ok(()));
        }
    }

    #[test]
    fn time_pays_for_ten_a_second() {
        let mut guard = Guard::new(&Limits::default());
        for number in 0..20_000 {
            guard.tick(Duration::from_millis(100) * number);
            assert_eq!(guard.received(&frame(Kind::Ping, 0, 8)), Ok(()), "{number}");
        }
    }
}
