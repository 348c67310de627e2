//! The limits of a listener. Whoever reaches a listener may send anything, slowly, or nothing, and the controller goes on.
//!
//! Both listeners together take 832 file descriptors at most. Many systems give a process 1,024; the rest is for AWS, GitHub and files.

use std::time::Duration;

/// The most bytes of a request's head: its line and its headers. API Gateway admits 10,240 bytes of headers.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>
pub(super) const HEAD: usize = 16 << 10;
/// The most bytes of a connection that are read before a handler asks for them, or that wait to be sent.
pub(super) const BUFFER: usize = 64 << 10;
/// An answer is sent in pieces of this many bytes, so that its memory is held for as long as somebody fetches it.
pub(super) const PIECE: usize = 32 << 10;

/// The limits of one listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// The name of the listener in the log.
    pub listener: &'static str,
    /// The most connections. When one more comes, the connection that has waited longest for its client is closed.
    pub connections: usize,
    /// How long a new connection may stay silent.
    pub first_byte: Duration,
    /// How long a request may take from its first byte to its last.
    pub request: Duration,
    /// How long an answer may rest without one byte that the client takes.
    pub stall: Duration,
    /// How long a client may take for a whole answer. A stream of events has no such limit.
    pub answer: Duration,
    /// How long a connection may be idle between two requests. Load balancers reuse connections: an Application Load Balancer
    /// closes its own after 60 s, and should be the first to close.
    /// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html>
    pub idle: Duration,
}

impl ListenerLimits {
    /// The listener for GitHub's webhooks.
    pub const WEBHOOK: ListenerLimits = ListenerLimits {
        listener: "webhook",
        connections: 512,
        first_byte: Duration::from_secs(10),
        request: Duration::from_secs(20),
        stall: Duration::from_secs(30),
        answer: Duration::from_secs(120),
        idle: Duration::from_secs(75),
    };
    /// The listener for operators.
    pub const ADMIN: ListenerLimits = ListenerLimits { listener: "admin", connections: 256, ..ListenerLimits::WEBHOOK };
}
