//! Heads as they came: parsed in place by httparse.

use std::mem::MaybeUninit;

use super::field::Field;

/// The most fields in a head.
pub const FIELDS_MAX: usize = 200;

/// Room for the fields of a head.
pub type Room<'b> = [MaybeUninit<Field<'b>>; FIELDS_MAX];

/// Room that nothing was written to yet.
#[must_use]
pub fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// Why bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More fields than [`FIELDS_MAX`].
    #[error("more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// Not HTTP/1.1 or HTTP/1.0.
    #[error("{0}")]
    Malformed(httparse::Error),
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyFields,
            error => Self::Malformed(error),
        }
    }
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'b> {
    /// The method, in the case in which it came.
    pub method: &'b str,
    /// The request target.
    pub target: &'b str,
    /// HTTP/1.1 and not HTTP/1.0.
    pub is_1_1: bool,
    /// The fields in their order.
    pub fields: &'b [Field<'b>],
    /// Its length with the empty line that ends it, in bytes.
    pub len: usize,
}

impl<'b> RequestHead<'b> {
    /// The head at the beginning of these bytes. None if it is not complete.
    ///
    /// # Errors
    /// If it cannot become one.
    pub fn parse(bytes: &'b [u8], room: &'b mut Room<'b>) -> Result<Option<Self>, HeadError> {
        let mut request = httparse::Request::new(&mut []);
        let httparse::Status::Complete(len) = request.parse_with_uninit_headers(bytes, room)?
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            method: request.method.unwrap_or_default(),
            target: request.path.unwrap_or_default(),
            is_1_1: request.version == Some(1),
            fields: request.headers,
            len,
        }))
    }
}

/// The head of a response.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'b> {
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'b str,
    /// HTTP/1.1 and not HTTP/1.0.
    pub is_1_1: bool,
    /// The fields in their order.
    pub fields: &'b [Field<'b>],
    /// Its length with the empty line that ends it, in bytes.
    pub len: usize,
}

impl<'b> ResponseHead<'b> {
    /// The head at the beginning of these bytes. None if it is not complete.
    ///
    /// # Errors
    /// If it cannot become one.
    pub fn parse(bytes: &'b [u8], room: &'b mut Room<'b>) -> Result<Option<Self>, HeadError> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            room,
        )?;
        let httparse::Status::Complete(len) = parsed else {
            return Ok(None);
        };
        let status = response.code.filter(|status| *status >= 100);
        Ok(Some(Self {
            status: status.ok_or(HeadError::Malformed(httparse::Error::Status))?,
            reason: response.reason.unwrap_or_default(),
            is_1_1: response.version == Some(1),
            fields: response.headers,
            len,
        }))
    }
}

/// The head of a response that we have written ourselves: its lines are sound, and what they say is
/// not looked at once more.
#[derive(Debug, Clone)]
pub(crate) struct Written<'b> {
    pub(crate) status: u16,
    rest: &'b [u8],
}

impl<'b> Written<'b> {
    /// The head at the beginning of these bytes. None if there is none.
    pub(crate) fn begin(bytes: &'b [u8]) -> Option<Self> {
        let digits = bytes.strip_prefix(b"HTTP/1.1 ")?.first_chunk::<3>()?;
        let status = digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit & 0xF));
        let end = memchr::memchr(b'\n', bytes)?;
        Some(Self {
            status,
            rest: &bytes[end + 1..],
        })
    }

    /// The next field: its name and its value. None behind the last one, or if what follows is no
    /// line.
    pub(crate) fn field(&mut self) -> Option<(&'b [u8], &'b [u8])> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let line = self.rest[..end].strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        self.rest = &self.rest[end + 1..];
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    }

    /// What follows the head. None if that is not complete.
    pub(crate) fn end(&self) -> Option<&'b [u8]> {
        self.rest.strip_prefix(b"\r\n")
    }
}
