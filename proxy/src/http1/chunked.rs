//! The chunked transfer coding (RFC 9112 §7.1), read strictly and written anew.

use std::fmt::Write as _;

use super::field::{Kind, is_disguised, kind};

/// The longest line with a chunk's size, extensions included, in bytes. The extensions are dropped
/// (§7.1.1), so there is no reason to read many.
const SIZE_LINE_MAX: usize = 1024;
/// The longest trailer section, in bytes: as long as a response's head may be, as gRPC tells the
/// details of an error in it.
pub(crate) const TRAILERS_MAX: usize = 32 * 1024;
/// The most trailer fields.
const TRAILERS_COUNT_MAX: usize = 128;

/// Why bytes are no chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunks: {0}")]
pub struct BadChunk(pub &'static str);

/// How far a chunked body has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// The trailers that may be passed on, as they are written.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What comes next in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// So many bytes are framing, and are to be dropped.
    Framing(usize),
    /// So many bytes are content.
    Data(usize),
    /// Nothing can be said before there is more.
    More,
    /// The body is over.
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            state: State::Size,
            trailers: Vec::new(),
        }
    }
}

impl Chunks {
    /// The body is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailers, once it is over.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Takes trailers away.
    pub(crate) fn strip(&mut self, drops: impl Fn(&str) -> bool) {
        let lines = self.trailers.split_inclusive(|byte| *byte == b'\n');
        let kept = lines.filter(|line| {
            let end = line.iter().position(|byte| *byte == b':').unwrap_or(0);
            !std::str::from_utf8(&line[..end]).is_ok_and(&drops)
        });
        self.trailers = kept.flatten().copied().collect();
    }

    /// Looks at the input, which begins after what earlier calls took.
    ///
    /// # Errors
    /// If it is no chunked body. A bare LF is not taken for a line end: others may not.
    pub fn next(&mut self, input: &[u8]) -> Result<Part, BadChunk> {
        match self.state {
            State::Done => Ok(Part::End),
            State::Data(left) => {
                if input.is_empty() {
                    return Ok(Part::More);
                }
                let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let left = left - count as u64;
                self.state = if left == 0 {
                    State::DataEnd
                } else {
                    State::Data(left)
                };
                Ok(Part::Data(count))
            }
            State::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Part::Framing(2))
                }
                [] | [b'\r'] => Ok(Part::More),
                _ => Err(BadChunk("no line end after a chunk")),
            },
            State::Size => {
                let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
                    // Digits that cannot become a size are refused before the line is complete.
                    return match input.first() {
                        Some(first) if !first.is_ascii_hexdigit() => Err(BadChunk("no size")),
                        _ if input.len() > SIZE_LINE_MAX => Err(BadChunk("a long line")),
                        _ => Ok(Part::More),
                    };
                };
                let size = size(&input[..end])?;
                self.state = if size == 0 {
                    State::Trailers
                } else {
                    State::Data(size)
                };
                Ok(Part::Framing(end + 1))
            }
            State::Trailers => self.trailer_section(input),
        }
    }

    fn trailer_section(&mut self, input: &[u8]) -> Result<Part, BadChunk> {
        match input {
            [b'\r', b'\n', ..] => {
                self.state = State::Done;
                return Ok(Part::Framing(2));
            }
            [] | [b'\r'] => return Ok(Part::More),
            _ => {}
        }
        let mut room = [httparse::EMPTY_HEADER; TRAILERS_COUNT_MAX];
        match httparse::parse_headers(input, &mut room) {
            Ok(httparse::Status::Complete((len, fields))) => {
                if len > TRAILERS_MAX {
                    return Err(BadChunk("long trailers"));
                }
                // httparse takes a bare LF for a line end.
                let ends = memchr::memchr_iter(b'\n', &input[..len]);
                if ends.into_iter().any(|at| at == 0 || input[at - 1] != b'\r') {
                    return Err(BadChunk("a bare LF"));
                }
                for field in fields {
                    if may_trail(field.name) {
                        self.trailers.extend_from_slice(field.name.as_bytes());
                        self.trailers.extend_from_slice(b": ");
                        self.trailers.extend_from_slice(field.value);
                        self.trailers.extend_from_slice(b"\r\n");
                    }
                }
                self.state = State::Done;
                Ok(Part::Framing(len))
            }
            Ok(httparse::Status::Partial) if input.len() <= TRAILERS_MAX => Ok(Part::More),
            Ok(httparse::Status::Partial) => Err(BadChunk("long trailers")),
            Err(_) => Err(BadChunk("bad trailers")),
        }
    }
}

/// The size in a line without its LF.
fn size(line: &[u8]) -> Result<u64, BadChunk> {
    let Some((b'\r', line)) = line.split_last() else {
        return Err(BadChunk("a bare LF"));
    };
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    // 16 digits fill 64 bits. One less, so that no reader with signed numbers reads another size.
    if digits.is_empty() || digits.len() > 15 || line.len() > SIZE_LINE_MAX {
        return Err(BadChunk("no size"));
    }
    // Not `trim_ascii`: that takes a CR for white space too.
    let blank = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let extension = &rest[rest.iter().position(blank).unwrap_or(rest.len())..];
    if !matches!(extension.first(), None | Some(b';'))
        || extension
            .iter()
            .any(|&byte| byte != b'\t' && (byte < b' ' || byte == 0x7F))
    {
        return Err(BadChunk("a bad extension"));
    }
    Ok(digits.iter().fold(0, |size, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => digit - b'A' + 10,
        };
        size << 4 | u64::from(value)
    }))
}

/// RFC 9110 §6.5.1: fields that frame, route or authenticate a message, or that control how it is
/// processed, must not come after it.
fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 9] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "trailer",
    ];
    kind(name) == Kind::Other
        && !is_disguised(name)
        && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}

/// Writes a chunk's size. The data and a line end follow.
pub fn push_size(out: &mut Vec<u8>, size: usize) {
    let mut digits = Digits([0; 16], 0);
    write!(digits, "{size:x}").expect("16 digits hold every size");
    out.extend_from_slice(&digits.0[..digits.1]);
    out.extend_from_slice(b"\r\n");
}

/// Writes a chunk.
pub fn push(out: &mut Vec<u8>, data: &[u8]) {
    push_size(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a body.
pub fn push_end(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

struct Digits([u8; 16], usize);

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.1 + text.len();
        let place = self.0.get_mut(self.1..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.1 = end;
        Ok(())
    }
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
