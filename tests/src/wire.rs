//! HTTP/1.1 as bytes: what is sent is what the test says, and what came is what was read.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that speaks bytes.
pub struct Wire {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message head: its first line and its fields, names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub line: String,
    /// The fields in their order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field that is there once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(
            values.next().is_none(),
            "{name} is there more than once: {self:?}"
        );
        value
    }

    /// The status of a response.
    #[must_use]
    pub fn status(&self) -> u16 {
        let status = self
            .line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status in {:?}", self.line))
    }
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// Its body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Longshore's reason, if it is an answer of its own.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.head.get("x-longshore-reason")
    }
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }
}

impl Wire {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        TcpStream::connect(address).await.expect("connected").into()
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// Sends a request without a body and reads the response.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await;
        self.response().await
    }

    /// Reads a head.
    ///
    /// # Errors
    /// `UnexpectedEof` if the connection ends first.
    pub async fn head(&mut self) -> io::Result<Head> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let bytes: Vec<u8> = self.buffer.drain(..end + 4).collect();
        Ok(parse_head(&bytes))
    }

    /// Reads a response to a request other than HEAD.
    pub async fn response(&mut self) -> Response {
        self.try_response().await.expect("a whole response")
    }

    /// Reads a response to a request other than HEAD.
    ///
    /// # Errors
    /// If the connection ends before the response does.
    pub async fn try_response(&mut self) -> io::Result<Response> {
        let head = self.head().await?;
        let bodiless = matches!(head.status(), 100..=199 | 204 | 304);
        let (body, trailers) = if bodiless {
            (Vec::new(), Vec::new())
        } else {
            self.body(&head, true).await?
        };
        Ok(Response {
            head,
            body,
            trailers,
        })
    }

    /// Reads the body that belongs to a head. `response`: without a length it ends with the
    /// connection; a request has no body then.
    ///
    /// # Errors
    /// If the connection ends before the body does.
    pub async fn body(
        &mut self,
        head: &Head,
        response: bool,
    ) -> io::Result<(Vec<u8>, Vec<(String, String)>)> {
        if head.get("transfer-encoding").is_some() {
            return self.chunks().await;
        }
        let Some(length) = head.get("content-length") else {
            if !response {
                return Ok((Vec::new(), Vec::new()));
            }
            loop {
                match self.fill().await {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
            return Ok((std::mem::take(&mut self.buffer), Vec::new()));
        };
        let length = length.parse().expect("a length");
        Ok((self.exactly(length).await?, Vec::new()))
    }

    async fn chunks(&mut self) -> io::Result<(Vec<u8>, Vec<(String, String)>)> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).expect("a chunk size");
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            assert_eq!(self.line().await?, "", "a chunk ends with CRLF");
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            match line.split_once(':') {
                Some((name, value)) => {
                    trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                None => return Ok((body, trailers)),
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let bytes: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Reads that many bytes.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// The bytes that were read and not taken.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Waits for the end of the connection. What came before it is returned.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.is_ok() {}
        std::mem::take(&mut self.buffer)
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse_head(bytes: &[u8]) -> Head {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let fields = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("no colon in {line:?}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    Head { line, fields }
}
