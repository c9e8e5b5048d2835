//! What a request is classified by, and how dangerous that is, in ALB's words.

/// ALB's classes, from harmless to dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// As RFC 9112 wants it.
    Compliant,
    /// Not so, and no danger is known.
    Acceptable,
    /// Readers may differ about it.
    Ambiguous,
    /// Malformed, or made to deceive.
    Severe,
}

impl Class {
    /// ALB's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compliant => "Compliant",
            Self::Acceptable => "Acceptable",
            Self::Ambiguous => "Ambiguous",
            Self::Severe => "Severe",
        }
    }
}

/// What a request is classified by. The names are ALB's, and, from `NonCrLfLineTermination` on,
/// those of http-desync-guardian for bytes that ALB's parser does not pass to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// `Content-Length: 0` in GET or HEAD.
    GetHeadZeroContentLength,
    /// A field with control characters, or with a name that is no token.
    NonCompliantHeader,
    /// HTTP/0.9, HTTP/1.2 to 1.9, or white space around the version.
    NonCompliantVersion,
    /// A space in the request target.
    SpaceInUri,
    /// Control characters in the request target, or bytes that are no UTF-8.
    AmbiguousUri,
    /// Content-Length and Transfer-Encoding.
    BothTeClPresent,
    /// The same Content-Length more than once.
    DuplicateContentLength,
    /// A field without a name.
    EmptyHeader,
    /// A name that some readers take for Content-Length or Transfer-Encoding.
    SuspiciousHeader,
    /// A Content-Length other than 0 in GET or HEAD, or any in HTTP/0.9.
    UndefinedContentLengthSemantics,
    /// Transfer-Encoding in GET or HEAD, or before HTTP/1.1.
    UndefinedTransferEncodingSemantics,
    /// A Content-Length that is no number.
    BadContentLength,
    /// NUL or CR in a field.
    BadHeader,
    /// A Transfer-Encoding that does not exist, or in which chunks are not the last.
    BadTransferEncoding,
    /// NUL or CR in the request target.
    BadUri,
    /// A method that is no token.
    BadMethod,
    /// A version that is none.
    BadVersion,
    /// Different Content-Lengths.
    MultipleContentLength,
    /// `chunked` more than once.
    MultipleTransferEncodingChunked,
    /// Content-Length and Transfer-Encoding, one of them in disguise.
    SuspiciousTeClPresent,
    /// All lines end with LF alone.
    NonCrLfLineTermination,
    /// Some lines end with LF alone, others do not. Our own: readers that know only one kind of
    /// line end see other lines.
    MixedLineTermination,
    /// A line that continues the one before.
    MultilineHeader,
    /// A line without an end.
    PartialHeaderLine,
    /// No empty line.
    MissingLastEmptyLine,
    /// A line without a colon.
    MissingHeaderColon,
    /// A request line without a target.
    MissingUri,
}

impl Finding {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::GetHeadZeroContentLength,
        Self::NonCompliantHeader,
        Self::NonCompliantVersion,
        Self::SpaceInUri,
        Self::AmbiguousUri,
        Self::BothTeClPresent,
        Self::DuplicateContentLength,
        Self::EmptyHeader,
        Self::SuspiciousHeader,
        Self::UndefinedContentLengthSemantics,
        Self::UndefinedTransferEncodingSemantics,
        Self::BadContentLength,
        Self::BadHeader,
        Self::BadTransferEncoding,
        Self::BadUri,
        Self::BadMethod,
        Self::BadVersion,
        Self::MultipleContentLength,
        Self::MultipleTransferEncodingChunked,
        Self::SuspiciousTeClPresent,
        Self::NonCrLfLineTermination,
        Self::MixedLineTermination,
        Self::MultilineHeader,
        Self::PartialHeaderLine,
        Self::MissingLastEmptyLine,
        Self::MissingHeaderColon,
        Self::MissingUri,
    ];

    /// Its class.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::GetHeadZeroContentLength
            | Self::NonCompliantHeader
            | Self::NonCompliantVersion
            | Self::SpaceInUri
            | Self::NonCrLfLineTermination => Class::Acceptable,
            Self::AmbiguousUri
            | Self::BothTeClPresent
            | Self::DuplicateContentLength
            | Self::EmptyHeader
            | Self::SuspiciousHeader
            | Self::UndefinedContentLengthSemantics
            | Self::UndefinedTransferEncodingSemantics
            | Self::MixedLineTermination
            | Self::MultilineHeader
            | Self::PartialHeaderLine
            | Self::MissingLastEmptyLine
            | Self::MissingHeaderColon
            | Self::MissingUri => Class::Ambiguous,
            Self::BadContentLength
            | Self::BadHeader
            | Self::BadTransferEncoding
            | Self::BadUri
            | Self::BadMethod
            | Self::BadVersion
            | Self::MultipleContentLength
            | Self::MultipleTransferEncodingChunked
            | Self::SuspiciousTeClPresent => Class::Severe,
        }
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetHeadZeroContentLength => "GetHeadZeroContentLength",
            Self::NonCompliantHeader => "NonCompliantHeader",
            Self::NonCompliantVersion => "NonCompliantVersion",
            Self::SpaceInUri => "SpaceInUri",
            Self::AmbiguousUri => "AmbiguousUri",
            Self::BothTeClPresent => "BothTeClPresent",
            Self::DuplicateContentLength => "DuplicateContentLength",
            Self::EmptyHeader => "EmptyHeader",
            Self::SuspiciousHeader => "SuspiciousHeader",
            Self::UndefinedContentLengthSemantics => "UndefinedContentLengthSemantics",
            Self::UndefinedTransferEncodingSemantics => "UndefinedTransferEncodingSemantics",
            Self::BadContentLength => "BadContentLength",
            Self::BadHeader => "BadHeader",
            Self::BadTransferEncoding => "BadTransferEncoding",
            Self::BadUri => "BadUri",
            Self::BadMethod => "BadMethod",
            Self::BadVersion => "BadVersion",
            Self::MultipleContentLength => "MultipleContentLength",
            Self::MultipleTransferEncodingChunked => "MultipleTransferEncodingChunked",
            Self::SuspiciousTeClPresent => "SuspiciousTeClPresent",
            Self::NonCrLfLineTermination => "NonCrLfLineTermination",
            Self::MixedLineTermination => "MixedLineTermination",
            Self::MultilineHeader => "MultilineHeader",
            Self::PartialHeaderLine => "PartialHeaderLine",
            Self::MissingLastEmptyLine => "MissingLastEmptyLine",
            Self::MissingHeaderColon => "MissingHeaderColon",
            Self::MissingUri => "MissingUri",
        }
    }
}
