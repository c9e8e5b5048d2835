//! WebSockets as bytes: frames as the test wants them, and those that came, without forgiveness.

use std::io;
use std::net::SocketAddr;

use crate::wire::{Head, Wire};

/// A whole text (RFC 6455 §5.2).
pub const TEXT: u8 = 0x81;
/// A Close.
pub const CLOSE: u8 = 0x88;
/// A Ping.
pub const PING: u8 = 0x89;
/// A Pong.
pub const PONG: u8 = 0x8A;

/// What a client asks with.
#[must_use]
pub fn request(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// What a target agrees with.
pub const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame as one side sends it: a client with a mask, a server without.
#[must_use]
pub fn frame(first: u8, masked: bool, content: &[u8]) -> Vec<u8> {
    let mask_bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(content.len()) {
        bytes.push(mask_bit | short);
    } else if let Ok(middle) = u16::try_from(content.len()) {
        bytes.push(mask_bit | 126);
        bytes.extend(middle.to_be_bytes());
    } else {
        bytes.push(mask_bit | 127);
        bytes.extend((content.len() as u64).to_be_bytes());
    }
    if masked {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        bytes.extend(mask);
        let bits = mask.iter().cycle();
        bytes.extend(content.iter().zip(bits).map(|(byte, bit)| byte ^ bit));
    } else {
        bytes.extend(content);
    }
    bytes
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, and the opcode.
    pub first: u8,
    /// Whether it was masked.
    pub masked: bool,
    /// Without the mask.
    pub content: Vec<u8>,
}

impl Frame {
    /// The status of a Close.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let status = self.content.first_chunk()?;
        (self.first == CLOSE).then_some(u16::from_be_bytes(*status))
    }
}

/// Reads a frame.
///
/// # Errors
/// `UnexpectedEof` if the connection ends first, also in the middle of the frame.
pub async fn read(wire: &mut Wire) -> io::Result<Frame> {
    let head = wire.exactly(2).await?;
    let number = |bytes: Vec<u8>| {
        let fold = bytes
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(fold).expect("it fits")
    };
    let length = match head[1] & 0x7F {
        126 => number(wire.exactly(2).await?),
        127 => number(wire.exactly(8).await?),
        short => usize::from(short),
    };
    let masked = head[1] & 0x80 != 0;
    let mask = if masked {
        wire.exactly(4).await?
    } else {
        vec![0]
    };
    let mut content = wire.exactly(length).await?;
    for (byte, bit) in content.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= bit;
    }
    Ok(Frame {
        first: head[0],
        masked,
        content,
    })
}

/// Connects and asks for a WebSocket.
pub async fn open(address: SocketAddr, path: &str, fields: &str) -> (Wire, Head) {
    let mut wire = Wire::connect(address).await;
    wire.send(request(path, fields)).await;
    let head = crate::within("a head", wire.head()).await.expect("a head");
    (wire, head)
}

/// Serves one WebSocket after its request: says `name` first, then echoes texts and answers pings,
/// until a Close, which it answers. The Close that came is returned; none if the connection ended.
pub async fn echo(wire: &mut Wire, name: &str) -> Option<Frame> {
    wire.send(AGREED).await;
    wire.send(frame(TEXT, false, name.as_bytes())).await;
    while let Ok(came) = read(wire).await {
        let answer = match came.first {
            CLOSE => {
                wire.send(frame(CLOSE, false, &came.content)).await;
                return Some(came);
            }
            PING => PONG,
            same => same,
        };
        wire.send(frame(answer, false, &came.content)).await;
    }
    None
}
