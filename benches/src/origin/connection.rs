//! A connection to the origin: requests in, answers that were made beforehand out.

use std::io::{self, ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

/// The longest request head that is taken.
const HEAD_LIMIT: usize = 16 * 1024;

/// An answer that is the same for each request.
pub(crate) struct Fixed {
    path: String,
    response: Vec<u8>,
}

/// What a connection still has to write.
enum Pending {
    Nothing,
    Fixed { answer: usize, written: usize },
    Own { bytes: Vec<u8>, written: usize },
}

pub(crate) struct Connection {
    stream: TcpStream,
    listener: usize,
    input: Box<[u8; HEAD_LIMIT]>,
    filled: usize,
    pending: Pending,
    close_after: bool,
    /// It is a WebSocket by now.
    echoes: bool,
    /// What it asked for in place of an answer from here: load at a constant rate.
    order: Option<String>,
}

/// Whether a connection goes on after an event.
#[derive(PartialEq, Eq)]
pub(crate) enum Next {
    Keep,
    Close,
}

/// What a complete request head asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request<'head> {
    path: &'head [u8],
    close: bool,
    has_body: bool,
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The answers to paths that name one of the sizes, and to health checks.
pub(crate) fn fixed_answers(sizes: &[usize]) -> Vec<Fixed> {
    let mut answers: Vec<Fixed> = sizes
        .iter()
        .map(|&size| Fixed {
            path: format!("/body/{size}"),
            response: response("200 OK", &longshore_benches::body(size)),
        })
        .collect();
    answers.push(Fixed {
        path: "/health".into(),
        response: response("200 OK", b"ok"),
    });
    answers
}

impl Connection {
    /// One that was accepted by a listener.
    pub(crate) fn new(stream: TcpStream, listener: usize) -> Self {
        Self {
            stream,
            listener,
            input: Box::new([0; HEAD_LIMIT]),
            filled: 0,
            pending: Pending::Nothing,
            close_after: false,
            echoes: false,
            order: None,
        }
    }

    /// What it asked to be done, once: the rest of a path that begins with `/paced/`. [`Self::answer`]
    /// is owed for it.
    pub(crate) fn take_order(&mut self) -> Option<String> {
        self.order.take()
    }

    /// Answers an order.
    pub(crate) fn answer(&mut self, status: &str, body: &str) {
        self.pending = Pending::Own {
            bytes: response(status, body.as_bytes()),
            written: 0,
        };
    }

    /// Does all that can be done without waiting.
    pub(crate) fn advance(&mut self, answers: &[Fixed], read_closed: bool) -> Next {
        // After a read that did not fill the buffer the socket is empty, and the
        // next byte brings a new event: asking again would be one system call
        // per request for nothing. Not so when the end is already there.
        let mut drained = false;
        loop {
            match self.flush(answers) {
                Ok(true) if self.close_after => return Next::Close,
                Ok(true) => {}
                Ok(false) => return Next::Keep,
                Err(_) => return Next::Close,
            }
            let taken = if self.echoes {
                match self.take_frames() {
                    Some(taken) => taken,
                    None => return Next::Close,
                }
            } else {
                self.take_request(answers)
            };
            if taken {
                continue;
            }
            if drained {
                return Next::Keep;
            }
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Next::Close,
                Ok(count) => {
                    self.filled += count;
                    drained = !read_closed && self.filled < HEAD_LIMIT;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::Close,
            }
        }
    }

    /// Writes what is pending; `false` when the socket takes no more now.
    fn flush(&mut self, answers: &[Fixed]) -> io::Result<bool> {
        loop {
            let (bytes, written) = match &mut self.pending {
                Pending::Nothing => return Ok(true),
                Pending::Fixed { answer, written } => {
                    (answers[*answer].response.as_slice(), written)
                }
                Pending::Own { bytes, written } => (bytes.as_slice(), written),
            };
            match self.stream.write(&bytes[*written..]) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if *written == bytes.len() {
                self.pending = Pending::Nothing;
            }
        }
    }

    /// Turns the next complete request of the buffer into a pending answer.
    fn take_request(&mut self, answers: &[Fixed]) -> bool {
        let input = &self.input[..self.filled];
        let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
            if self.filled == HEAD_LIMIT {
                self.refuse("431 Request Header Fields Too Large");
                return true;
            }
            return false;
        };
        let length = end + 4;
        let head = &input[..length];
        let Some(request) = parse(head) else {
            self.refuse("400 Bad Request");
            return true;
        };
        if request.has_body {
            self.refuse("501 Not Implemented");
            return true;
        }
        self.close_after = request.close;
        self.echoes = request.path == b"/websocket";
        self.pending = if let Some(answer) = answers
            .iter()
            .position(|fixed| fixed.path.as_bytes() == request.path)
        {
            Pending::Fixed { answer, written: 0 }
        } else if self.echoes {
            let accept = longshore_benches::WEBSOCKET_ACCEPT;
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            Pending::Own {
                bytes: head.into_bytes(),
                written: 0,
            }
        } else if let Some(order) = request.path.strip_prefix(b"/paced/") {
            self.order = Some(String::from_utf8_lossy(order).into_owned());
            Pending::Nothing
        } else if request.path == b"/headers" {
            let mut echo = format!("listener: {}\r\n", self.listener).into_bytes();
            echo.extend_from_slice(head);
            Pending::Own {
                bytes: response("200 OK", &echo),
                written: 0,
            }
        } else {
            Pending::Own {
                bytes: response("404 Not Found", b"no such path"),
                written: 0,
            }
        };
        self.input.copy_within(length..self.filled, 0);
        self.filled -= length;
        true
    }

    /// Turns all whole frames of the buffer into pending echoes. None for what no client here sends.
    fn take_frames(&mut self) -> Option<bool> {
        let (echoes, taken) = echoes(&self.input[..self.filled])?;
        if taken == 0 {
            return Some(false);
        }
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        self.pending = Pending::Own {
            bytes: echoes,
            written: 0,
        };
        Some(true)
    }

    fn refuse(&mut self, status: &str) {
        self.close_after = true;
        self.filled = 0;
        self.pending = Pending::Own {
            bytes: response(status, status.as_bytes()),
            written: 0,
        };
    }
}

/// Reads the little of a request head that the origin acts on.
fn parse(head: &[u8]) -> Option<Request<'_>> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let mut words = lines.next()?.trim_ascii_end().split(|&byte| byte == b' ');
    let (_method, path, version) = (words.next()?, words.next()?, words.next()?);
    let mut request = Request {
        path,
        close: version != b"HTTP/1.1",
        has_body: false,
    };
    for line in lines {
        // Looking at the first letter skips most lines at once.
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(line, b"connection:") {
                    request.close |= value.eq_ignore_ascii_case(b"close");
                } else if let Some(value) = value_of(line, b"content-length:") {
                    request.has_body |= value != b"0";
                }
            }
            Some(b't' | b'T') => {
                request.has_body |= value_of(line, b"transfer-encoding:").is_some();
            }
            _ => {}
        }
    }
    Some(request)
}

/// The echoes of all whole frames, and the bytes of these. Frames are short and masked
/// (RFC 6455 §5.2).
fn echoes(mut input: &[u8]) -> Option<(Vec<u8>, usize)> {
    const HEAD: usize = 6;
    let all = input.len();
    let mut echoes = Vec::new();
    while let Some(&[first, length, m0, m1, m2, m3]) = input.first_chunk::<HEAD>() {
        if length & 0x80 == 0 || length & 0x7f > 125 {
            return None;
        }
        let length = length & 0x7f;
        let Some(content) = input.get(HEAD..HEAD + usize::from(length)) else {
            break;
        };
        echoes.extend([first, length]);
        let mask = [m0, m1, m2, m3].into_iter().cycle();
        echoes.extend(content.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        input = &input[HEAD + usize::from(length)..];
    }
    Some((echoes, all - input.len()))
}

fn value_of<'line>(line: &'line [u8], name: &[u8]) -> Option<&'line [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::{echoes, parse};

    #[test]
    fn whole_frames_are_echoed_without_their_mask() {
        let frame = [0x81, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2];
        let two = [frame, frame].concat();
        assert_eq!(echoes(&frame), Some((vec![0x81, 2, b'a', b'b'], 8)));
        assert_eq!(echoes(&two[..15]), Some((vec![0x81, 2, b'a', b'b'], 8)));
        assert_eq!(echoes(&frame[..7]), Some((vec![], 0)));
        assert_eq!(echoes(&[0x81, 2, 1, 2, 3, 4]), None);
    }

    #[test]
    fn a_request_of_http_1_1_is_kept_alive_unless_it_says_close() {
        let kept = parse(b"GET /body/128 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(kept.path, b"/body/128");
        assert!(!kept.close && !kept.has_body);
        let closed = parse(b"GET / HTTP/1.1\r\nCONNECTION: Close\r\n\r\n").unwrap();
        assert!(closed.close);
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().close);
    }

    #[test]
    fn a_request_with_a_body_is_noticed() {
        let none = parse(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(!none.has_body);
        let fixed = parse(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n").unwrap();
        assert!(fixed.has_body);
        let chunked = parse(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert!(chunked.has_body);
    }

    #[test]
    fn a_line_that_is_no_request_is_refused() {
        assert_eq!(parse(b"hello\r\n\r\n"), None);
    }
}
