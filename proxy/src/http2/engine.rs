//! The protocol of a client's HTTP/2 connection (RFC 9113): frames that came become requests, and
//! what is to be said becomes frames. No IO and no clock.
//!
//! What a client may cost is bounded here for what is stored (streams, windows, blocks of fields)
//! and in [`super::watch`] for what is only answered or dropped.

mod frame;
mod receive;
mod send;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::task::Waker;

pub use h2::Reason;

use super::fields::{Head, Request};
use super::hpack::Decoder;
use crate::upstream::pool::IdHasher;
pub use stream::Stream;

/// What the other side may send on one stream before the target has taken it. On all together it is
/// so much that streams whose targets do not read never stop the others.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 128;

/// What was taken is given back when it is so much, of whatever window: the window of all may be held
/// by a few streams, and what is left of it is needed by the others.
const GIVEN_BACK: u32 = STREAM_WINDOW / 2;

/// The window that both sides begin with (RFC 9113 §6.9.2).
const WINDOW: i64 = 65_535;

/// The largest window there may be.
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// The largest frame that is read: what holds as long as nothing else is agreed on.
const FRAME_MAX: usize = 16_384;

/// What waits to be sent, in bytes, before streams and answers wait.
const OUT_MAX: usize = 64 * 1024;

/// How many streams that ended are remembered, to tell a frame that was late from one that is
/// wrong.
const ENDED_MAX: usize = 64;

/// The PING that tells when the client knows of a GOAWAY.
const GOING: [u8; 8] = *b"go away.";

/// What is made elsewhere for requests.
pub trait Lend {
    /// An empty vector for a head.
    fn text(&self) -> Vec<u8>;
    /// A `Sec-WebSocket-Key`. Nobody but the target looks at it, and no client can choose it.
    fn key(&self) -> String;
}

/// A stream that a client has opened.
#[derive(Debug)]
pub struct Opened {
    /// Its number.
    pub id: u32,
    pub(super) request: Request,
}

impl Opened {
    /// The request's head, in HTTP/1.1.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.request.text
    }
}

/// What came.
#[derive(Debug)]
pub enum Event {
    /// A request: its head was read.
    Request(Opened),
    /// A request that is none. Its stream was reset.
    Malformed(&'static str),
}

/// A connection.
#[derive(Debug)]
pub struct Engine {
    streams: HashMap<u64, Stream, BuildHasherDefault<IdHasher>>,
    /// Streams that count against the limit, and the limit.
    open: u32,
    open_max: u32,
    /// The latest stream that the client has opened, and the latest that was looked at.
    latest: u32,
    served: u32,
    /// The latest streams that are over, and whether the client had ended them.
    ended: VecDeque<(u32, bool)>,
    events: VecDeque<Event>,
    decoder: Decoder,
    head: Head,
    /// A block of fields that goes on in CONTINUATION.
    block: Option<Block>,
    preface: bool,
    settled: bool,
    /// What may still be sent, and what the client may still send.
    window: i64,
    received: Received,
    /// What the client's settings say.
    initial_window: i64,
    frame_max: usize,
    /// The next block begins with the news that we remember nothing.
    forgets: bool,
    /// What is to be sent. `sent` of it was.
    out: Vec<u8>,
    sent: usize,
    /// Where the latest frame of `out` begins, if it is DATA of that stream.
    last_data: Option<(u32, usize)>,
    going: Going,
    /// Streams that wait for room, and how many of them were woken and have not used it.
    waiting: VecDeque<u32>,
    woken: usize,
    /// What the client did that cost us, or a target, something for nothing.
    faults: u32,
    /// Streams that the client has reset after their responses began: it had its answer, and what
    /// it cost a target was no less than that of any request.
    had_enough: u32,
    /// Wakes whoever sends what is to be sent.
    waker: Option<Waker>,
}

/// A block of fields so far.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
}

/// How far a connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    No,
    /// GOAWAY without a last stream is out: the client may have opened others meanwhile.
    Announced,
    /// It is out with the last stream. What is opened after it does not count.
    Last,
    /// With an error, or at once. Nothing is read any more.
    Over,
}

/// What was received in a window.
#[derive(Debug, Clone, Copy)]
struct Received {
    /// What may still come.
    left: i64,
    /// What was taken and not given back.
    taken: u32,
}

impl Received {
    fn new(size: u32) -> Self {
        Self {
            left: i64::from(size),
            taken: 0,
        }
    }

    /// So much came. False if it may not.
    fn came(&mut self, count: usize) -> bool {
        self.left -= count as i64;
        self.left >= 0
    }

    /// So much was taken. What is to be given back, once that is worth a frame.
    fn took(&mut self, count: usize) -> Option<u32> {
        self.taken += u32::try_from(count).unwrap_or(u32::MAX);
        (self.taken >= GIVEN_BACK).then(|| {
            self.left += i64::from(self.taken);
            std::mem::take(&mut self.taken)
        })
    }
}

impl Engine {
    /// At the beginning, before the client's preface. `open_max`: streams that it may have open at a
    /// time.
    pub fn new(open_max: u32) -> Self {
        let mut engine = Self {
            streams: HashMap::default(),
            open: 0,
            open_max,
            latest: 0,
            served: 0,
            ended: VecDeque::new(),
            events: VecDeque::new(),
            decoder: Decoder::new(),
            head: Head::default(),
            block: None,
            preface: false,
            settled: false,
            window: WINDOW,
            received: Received::new(CONNECTION_WINDOW),
            initial_window: WINDOW,
            frame_max: FRAME_MAX,
            forgets: false,
            out: Vec::new(),
            sent: 0,
            last_data: None,
            going: Going::No,
            waiting: VecDeque::new(),
            woken: 0,
            faults: 0,
            had_enough: 0,
            waker: None,
        };
        engine.begin();
        engine
    }

    /// Gives up the room that only streams need: a connection that waits for long holds none of it.
    pub fn rest(&mut self) {
        if self.streams.is_empty() && self.events.is_empty() && self.block.is_none() {
            self.streams.shrink_to_fit();
            self.events.shrink_to_fit();
            self.waiting.shrink_to_fit();
            self.head = Head::default();
        }
    }

    /// The next of what came.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A stream that has not ended on our side.
    pub fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(&id.into())
    }

    /// Whether the client's preface and settings have come.
    pub(crate) fn has_begun(&self) -> bool {
        self.settled
    }

    /// Whether there are streams, or something that was not sent.
    pub(crate) fn is_busy(&self) -> bool {
        !self.streams.is_empty() || self.is_unsent()
    }

    /// Whether there is something that was not sent.
    pub(crate) fn is_unsent(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Whether nothing more will be said once all that is to be sent was.
    pub fn is_over(&self) -> bool {
        match self.going {
            Going::Over => true,
            Going::Last => self.streams.is_empty(),
            Going::No | Going::Announced => false,
        }
    }

    /// Whether nothing should be read at the moment: what it asks for could not be answered.
    pub(crate) fn is_behind(&self) -> bool {
        // Content alone does not reach that: a client may send much before it reads.
        self.going == Going::Over || self.pending().len() > 2 * OUT_MAX
    }

    /// All ends: what is to be sent are the last words.
    pub(crate) fn is_ending(&self) -> bool {
        self.going == Going::Over
    }

    /// How many streams were ended because of what the client did, and how many frames were for
    /// nothing, since the call before. Such a stream may have reached a target: resets that a client
    /// provokes cost as much as those that it sends.
    pub(crate) fn take_faults(&mut self) -> u32 {
        std::mem::take(&mut self.faults)
    }

    /// How many streams the client has reset, since the call before, whose responses had begun.
    pub(crate) fn take_had_enough(&mut self) -> u32 {
        std::mem::take(&mut self.had_enough)
    }

    /// The client has gone: no stream can end well.
    pub(crate) fn gone(&mut self) {
        self.going = Going::Over;
        self.events.clear();
        #[allow(clippy::iter_over_hash_type, reason = "no stream depends on another")]
        for stream in self.streams.values_mut() {
            stream.reset();
        }
    }

    /// A stream counts no more against the limit.
    fn close(open: &mut u32, stream: &mut Stream) {
        if std::mem::take(&mut stream.counts) {
            *open -= 1;
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
