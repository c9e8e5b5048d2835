//! The rows of the comparison: add one here.

use crate::failure::{Result, fail};

/// What the load generator speaks to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frontend {
    /// HTTP/1.1 without TLS.
    Http1,
    /// HTTP/2 without TLS, with prior knowledge.
    Http2,
    /// HTTP/1.1 inside of TLS.
    Http1Tls,
    /// HTTP/2 inside of TLS, by ALPN.
    Http2Tls,
}

impl Frontend {
    /// Whether it is inside of TLS.
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    /// The scheme of its URLs.
    pub(crate) fn scheme(self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }
}

/// What the targets behind the proxy speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// HTTP/1.1 without TLS.
    Http1,
    /// gRPC over HTTP/2 without TLS, with prior knowledge.
    Grpc,
}

/// What makes the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generator {
    /// wrk: one request at a time on each keep-alive connection.
    Wrk,
    /// wrk, with one request on each connection.
    WrkClosing,
    /// h2load, with that many requests at a time on each connection.
    H2load { streams: usize },
    /// `handshakes`: one request on each connection, whose handshake goes on with the session of
    /// the one before.
    Resuming,
}

/// One thing that is measured for every proxy.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) frontend: Frontend,
    pub(crate) target: Target,
    pub(crate) generator: Generator,
    pub(crate) connections: usize,
    pub(crate) body: usize,
}

impl Row {
    /// The path asked for.
    pub(crate) fn path(&self) -> String {
        format!("/body/{}", self.body)
    }

    /// Whether the load can do without a proxy.
    pub(crate) fn suits_the_origin(&self) -> bool {
        matches!(
            (self.frontend, self.target),
            (Frontend::Http1, Target::Http1) | (Frontend::Http2, Target::Grpc)
        )
    }

    /// The body of the right answer.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let body = longshore_benches::body(self.body);
        match self.target {
            Target::Http1 => body,
            Target::Grpc => longshore_benches::grpc_message(&body),
        }
    }
}

/// All rows; the first is measured when none is named.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "h1-small",
        about: "HTTP/1.1, 128-byte body, keep-alive",
        frontend: Frontend::Http1,
        target: Target::Http1,
        generator: Generator::Wrk,
        connections: 64,
        body: 128,
    },
    Row {
        name: "h1-64k",
        about: "HTTP/1.1, 64 KiB body, keep-alive",
        frontend: Frontend::Http1,
        target: Target::Http1,
        generator: Generator::Wrk,
        connections: 64,
        body: 64 * 1024,
    },
    Row {
        name: "h2c-small",
        about: "HTTP/2 without TLS to HTTP/1.1, 128-byte body, 16 streams a connection",
        frontend: Frontend::Http2,
        target: Target::Http1,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        body: 128,
    },
    Row {
        name: "h1-tls",
        about: "HTTP/1.1 over TLS 1.3 to HTTP/1.1, 128-byte body, keep-alive",
        frontend: Frontend::Http1Tls,
        target: Target::Http1,
        generator: Generator::Wrk,
        connections: 64,
        body: 128,
    },
    Row {
        name: "h2-tls",
        about: "HTTP/2 over TLS 1.3 to HTTP/1.1, 128-byte body, 16 streams a connection",
        frontend: Frontend::Http2Tls,
        target: Target::Http1,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        body: 128,
    },
    Row {
        name: "h1-1m-tls",
        about: "HTTP/1.1 over TLS 1.3 to HTTP/1.1, 1 MiB body, keep-alive",
        frontend: Frontend::Http1Tls,
        target: Target::Http1,
        generator: Generator::Wrk,
        connections: 16,
        body: 1024 * 1024,
    },
    Row {
        name: "tls-full",
        about: "a full handshake of TLS 1.3 (ECDSA P-256) and one request over HTTP/1.1",
        frontend: Frontend::Http1Tls,
        target: Target::Http1,
        generator: Generator::WrkClosing,
        connections: 16,
        body: 128,
    },
    Row {
        name: "tls-resumed",
        about: "a resumed handshake of TLS 1.3 and one request over HTTP/1.1",
        frontend: Frontend::Http1Tls,
        target: Target::Http1,
        generator: Generator::Resuming,
        connections: 16,
        body: 128,
    },
    Row {
        name: "grpc",
        about: "gRPC unary without TLS, messages of 128 bytes, 16 calls a connection",
        frontend: Frontend::Http2,
        target: Target::Grpc,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        body: 128,
    },
    Row {
        name: "grpc-tls",
        about: "gRPC unary over TLS 1.3 to gRPC without, messages of 128 bytes, 16 calls a connection",
        frontend: Frontend::Http2Tls,
        target: Target::Grpc,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        body: 128,
    },
];

/// The rows of a comma-separated list of names.
pub(crate) fn named(list: &str) -> Result<Vec<&'static Row>> {
    list.split(',')
        .map(|name| match ROWS.iter().find(|row| row.name == name) {
            Some(row) => Ok(row),
            None => {
                let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
                fail(format!("no row {name}; there are {}", known.join(", ")))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn rows_are_found_by_name_and_an_unknown_one_names_all() {
        let rows = named("h1-64k,h1-small").unwrap();
        assert_eq!(rows[0].path(), "/body/65536");
        assert_eq!(rows[1].name, "h1-small");
        let error = named("h1-smal").unwrap_err().to_string();
        assert!(error.contains("h1-small, h1-64k"), "{error}");
    }
}
