//! Why a program had nothing to do, or could not do it.

/// One variant per cause; `main.rs` maps each to a verdict.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The socket was not sent anywhere by us.
    NoMark,
    /// The socket was sent somewhere by us and has been connected elsewhere since.
    OtherPeer,
    /// A sock_ops call about something else.
    OtherOperation,
    /// The flow map took no entry.
    FlowLost,
}
