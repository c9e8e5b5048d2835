//! HTTP/2 as frames: what is sent is what the test wrote, and what comes is told by its type.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Types of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const PRIORITY: u8 = 2;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
/// See [`END_STREAM`].
pub const ACK: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;

/// Codes of errors (RFC 9113 §7).
pub const NO_ERROR: u32 = 0;
/// See [`NO_ERROR`].
pub const PROTOCOL_ERROR: u32 = 1;
/// See [`NO_ERROR`].
pub const INTERNAL_ERROR: u32 = 2;
/// See [`NO_ERROR`].
pub const REFUSED_STREAM: u32 = 7;
/// See [`NO_ERROR`].
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    #[must_use]
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes)
    }

    /// The first code of a response's fields, if it is of those that have a number in HPACK's table
    /// (RFC 7541, appendix A), as 200 has.
    #[must_use]
    pub fn begins_with_200(&self) -> bool {
        self.payload.first() == Some(&0x88)
    }
}

/// A frame as bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as a header block: each as a literal that no table remembers.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            push_length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 §5.1, with a prefix of 7 bits.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(u8::try_from(length).expect("short"));
        return;
    }
    bytes.push(127);
    let mut left = length - 127;
    while left >= 128 {
        bytes.push(u8::try_from(left % 128).expect("short") | 128);
        left /= 128;
    }
    bytes.push(u8::try_from(left).expect("short"));
}

/// The fields of a GET.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
    ])
}

/// A list of fields for a stream, which ends with it, in HEADERS with its first byte and so many
/// CONTINUATIONs. Each has one byte, the last one what is left.
#[must_use]
pub fn continued(stream: u32, block: &[u8], count: usize) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_STREAM, stream, &block[..1]);
    for index in 1..count {
        bytes.extend(frame(CONTINUATION, 0, stream, &block[index..=index]));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, stream, &block[count..]));
    bytes
}

/// A connection.
pub struct Frames {
    /// The socket.
    pub stream: TcpStream,
}

impl Frames {
    /// Connects, and sends the preface with these settings.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("open");
        let mut this = Self { stream };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        let first = frame(SETTINGS, 0, 0, &payload);
        assert!(this.send(&[PREFACE, &first].concat()).await, "sent");
        this
    }

    /// Accepts a connection as a server: reads the preface, and sends SETTINGS.
    pub async fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("open");
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(preface, PREFACE);
        let mut frames = Self { stream };
        assert!(frames.send(&frame(SETTINGS, 0, 0, &[])).await);
        frames
    }

    /// Sends bytes. False if the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Sends a GET on a stream.
    pub async fn get(&mut self, stream: u32, path: &str) -> bool {
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(path));
        self.send(&bytes).await
    }

    /// The next frame. None at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The next frame of a type. None at the end of the connection.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        crate::within("the frame", async {
            loop {
                let frame = self.next().await?;
                if frame.kind == kind && !(kind == SETTINGS && frame.flags & ACK != 0) {
                    return Some(frame);
                }
            }
        })
        .await
    }

    /// Whether the connection still serves: a PING is answered.
    pub async fn is_alive(&mut self) -> bool {
        self.send(&frame(PING, 0, 0, b"longshor")).await
            && crate::within("an answer", async {
                loop {
                    match self.next().await {
                        None => return false,
                        Some(frame) if frame.kind == GOAWAY => return false,
                        Some(frame) if frame.kind == PING && frame.payload == b"longshor" => {
                            return true;
                        }
                        Some(_) => {}
                    }
                }
            })
            .await
    }

    /// The code with which the connection is ended. None if it ends without one.
    pub async fn end(&mut self) -> Option<u32> {
        self.next_of(GOAWAY).await.map(|frame| frame.code())
    }
}
