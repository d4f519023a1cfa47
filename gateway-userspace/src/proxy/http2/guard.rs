//! Pure: tells a client that floods the connection from one that works with it.
//!
//! What costs the gateway something and brings the client nothing is paid for from a few buckets of
//! tokens: control frames, requests given up at once, errors that make us reset a stream,
//! streams above the limit. They fill with time, and with the work that is done for the client, so that
//! who works with the connection never runs out. CVE-2019-9512 and -9515 (PING, SETTINGS), CVE-2023-44487
//! (rapid reset) and CVE-2025-8671 (resets that the server is made to send) all end here.

use std::time::Duration;

use smallvec::SmallVec;

use super::frame::{Frame, Kind};
use crate::limits::Limits;
use crate::proxy::bucket::Bucket;

/// Control frames that an answered request brings: its priority, its window, a PING.
const CREDIT_PER_ANSWER: u32 = 4;
/// Control frames that each frame of a body brings: windows of stream and connection, a PING.
const CREDIT_PER_DATA: u32 = 4;
/// One more for as many bytes: some clients update the window for each piece that they read.
const CREDIT_BYTES: u32 = 2048;

/// A request that is given up after this was waited for: so many can only be had as fast as the limit on
/// parallel streams allows, and an honest client gives up when its backend is slow.
const PATIENCE: Duration = Duration::from_millis(100);

/// Error codes of resets that are not the client's fault (RFC 9113 7): NO_ERROR, INTERNAL_ERROR, CANCEL.
const BLAMELESS: [u32; 3] = [0, 2, 8];
const REFUSED_STREAM: u32 = 7;

/// What a connection is ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and the like.
    ControlFrames,
    /// Requests that were reset at once, before they were answered.
    Resets,
    /// The same, over all connections of the client.
    ClientResets,
    /// Frames that made us reset streams.
    Errors,
    /// Streams above the limit on parallel ones.
    RefusedStreams,
}

impl Flood {
    /// For people.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ControlFrames => "control frames",
            Self::Resets => "requests reset at once",
            Self::ClientResets => "requests reset at once, on one connection after the other",
            Self::Errors => "stream errors",
            Self::RefusedStreams => "streams above the limit",
        }
    }
}

/// The account of one connection.
#[derive(Debug)]
pub(super) struct Guard {
    control: Bucket,
    resets: Bucket,
    errors: Bucket,
    refused: Bucket,
    /// Answers that no reset was paid with.
    earned: u32,
    /// Resets that no answer pays for, and that were not told yet.
    unearned: u32,
    /// Streams whose answer has not begun, and when each was opened.
    unanswered: SmallVec<[(u32, Duration); 8]>,
    unanswered_max: usize,
    highest: u32,
    /// Since the connection began.
    now: Duration,
    /// A header block has begun and not ended.
    in_headers: bool,
}

impl Guard {
    /// A connection that begins now.
    pub(super) fn new(limits: &Limits) -> Self {
        let resets = Bucket::new(limits.http2_resets_burst, limits.http2_frames_per_second);
        let errors = Bucket::new(limits.http2_resets_burst, limits.http2_frames_per_second);
        Self {
            control: Bucket::new(limits.http2_control_burst, limits.http2_frames_per_second),
            resets,
            errors,
            refused: Bucket::new(limits.http2_refused_burst, limits.http2_frames_per_second),
            earned: 0,
            unearned: 0,
            unanswered: SmallVec::new(),
            unanswered_max: 2 * limits.http2_streams_max as usize,
            highest: 0,
            now: Duration::ZERO,
            in_headers: false,
        }
    }

    /// Time has passed. `now` counts from the beginning of the connection.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        for bucket in [&mut self.control, &mut self.resets, &mut self.errors, &mut self.refused] {
            bucket.fill(now);
        }
    }

    /// More requests wait for their first word than can be served: the client is to wait with more.
    pub(super) fn is_behind(&self) -> bool {
        self.unanswered.len() > self.unanswered_max
    }

    /// True between a HEADERS frame and the last CONTINUATION of its block.
    pub(super) fn is_in_headers(&self) -> bool {
        self.in_headers
    }

    /// A frame of the client.
    pub(super) fn received(&mut self, frame: &Frame) -> Result<(), Flood> {
        if matches!(frame.kind, Kind::Headers | Kind::Continuation) {
            self.in_headers = !frame.ends_headers;
        }
        match frame.kind {
            Kind::Headers if frame.stream > self.highest => {
                self.highest = frame.stream;
                self.unanswered.push((frame.stream, self.now));
                return Ok(());
            }
            Kind::Data if frame.length > 0 || frame.ends_stream => return Ok(()),
            Kind::Reset(_) if let Some(opened) = self.settle(frame.stream) => {
                if self.now.saturating_sub(opened) >= PATIENCE {
                    return Ok(());
                }
                self.spend();
                return if self.resets.take() { Ok(()) } else { Err(Flood::Resets) };
            }
            _ => {}
        }
        if self.control.take() { Ok(()) } else { Err(Flood::ControlFrames) }
    }

    /// A frame to the client.
    pub(super) fn sent(&mut self, frame: &Frame) -> Result<(), Flood> {
        match frame.kind {
            Kind::Headers if self.settle(frame.stream).is_some() => {
                self.control.give(CREDIT_PER_ANSWER);
                self.resets.give(1);
                self.earned = self.earned.saturating_add(1);
                self.refused.give(1);
            }
            Kind::Data => self.control.give(CREDIT_PER_DATA + frame.length / CREDIT_BYTES),
            Kind::Reset(code) => {
                self.settle(frame.stream);
                if code == REFUSED_STREAM {
                    return if self.refused.take() { Ok(()) } else { Err(Flood::RefusedStreams) };
                }
                if !BLAMELESS.contains(&code) {
                    self.spend();
                    return if self.errors.take() { Ok(()) } else { Err(Flood::Errors) };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Resets that the client has not earned by answers that it waited for, since this was last asked.
    pub(super) fn take_unearned(&mut self) -> u32 {
        std::mem::take(&mut self.unearned)
    }

    fn spend(&mut self) {
        match self.earned.checked_sub(1) {
            Some(earned) => self.earned = earned,
            None => self.unearned = self.unearned.saturating_add(1),
        }
    }

    /// The stream has had its first word, or its last. When it was opened; `None` when it had that before.
    fn settle(&mut self, stream: u32) -> Option<Duration> {
        let index = self.unanswered.iter().position(|(id, _)| *id == stream)?;
        Some(self.unanswered.swap_remove(index).1)
    }
}

#[cfg(test)]
mod tests;
