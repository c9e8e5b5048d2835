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

/// What a proxy has to do beside forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Nothing.
    Plain,
    /// That many rules on paths, of which the last one holds.
    Rules(usize),
    /// A client stays at its target by a cookie.
    Sticky,
    /// An access log as JSON in a file, and metrics where they can be had or not.
    Log,
    /// That many rules on paths, of which the last one holds, and as many targets, in groups of
    /// at most so many. Without health checks, and only ours.
    Many { count: usize, group: usize },
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
    /// `websockets`: one message at a time on each connection, with its echo.
    WebSockets,
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
    /// Messages in an answer: more than one is a stream of gRPC.
    pub(crate) messages: usize,
    pub(crate) feature: Feature,
    /// Ours once more each, for comparison with itself.
    pub(crate) variants: &'static [Variant],
}

/// Ours with another feature than the row's, under another label.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) label: &'static str,
    pub(crate) feature: Feature,
}

/// What rows have in common; each says where it differs.
const USUAL: Row = Row {
    name: "",
    about: "",
    frontend: Frontend::Http1,
    target: Target::Http1,
    generator: Generator::Wrk,
    connections: 64,
    body: 128,
    messages: 1,
    feature: Feature::Plain,
    variants: &[],
};

impl Row {
    /// The path asked for.
    pub(crate) fn path(&self) -> String {
        match self.messages {
            1 => format!("/body/{}", self.body),
            count => format!("/stream/{}/{count}", self.body),
        }
    }

    /// Whether the load can do without a proxy.
    pub(crate) fn suits_the_origin(&self) -> bool {
        matches!(
            (self.frontend, self.target),
            (Frontend::Http1, Target::Http1) | (Frontend::Http2, Target::Grpc)
        ) && self.is_plain()
            // wrk takes an end that was not announced for an error, and the origin announces none.
            && self.generator != Generator::WrkClosing
    }

    /// Whether forwarding is all there is to do, so that the floor can take part.
    pub(crate) fn suits_the_floor(&self) -> bool {
        self.is_plain()
            && (self.frontend, self.target, self.generator)
                == (Frontend::Http1, Target::Http1, Generator::Wrk)
    }

    /// Whether idle connections are of interest: once without TLS, and once with it.
    pub(crate) fn suits_idle(&self) -> bool {
        ["h1-small", "h1-tls"].contains(&self.name)
    }

    /// What tells the first of ours from its variants, in a row about ours alone.
    pub(crate) fn own_label(&self) -> String {
        match self.feature {
            Feature::Many { count, .. } => count.to_string(),
            _ => String::new(),
        }
    }

    /// Whether `paced` can make its load, which has neither TLS nor cookies.
    pub(crate) fn suits_a_constant_rate(&self) -> bool {
        self.generator == Generator::Wrk
            && !self.frontend.is_secure()
            && self.feature != Feature::Sticky
    }

    fn is_plain(&self) -> bool {
        self.feature == Feature::Plain
    }

    /// Whether it is about ours alone.
    pub(crate) fn is_ours_alone(&self) -> bool {
        matches!(self.feature, Feature::Many { .. })
    }

    /// The bytes of bodies in an answer.
    pub(crate) fn bytes(&self) -> usize {
        self.body * self.messages
    }

    /// The body of the right answer.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let body = longshore_benches::body(self.body);
        match self.target {
            Target::Http1 => body,
            Target::Grpc => longshore_benches::grpc_message(&body).repeat(self.messages),
        }
    }
}

/// All rows; the first is measured when none is named.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "h1-small",
        about: "HTTP/1.1, 128-byte body, keep-alive",
        ..USUAL
    },
    Row {
        name: "h1-64k",
        about: "HTTP/1.1, 64 KiB body, keep-alive",
        body: 64 * 1024,
        ..USUAL
    },
    Row {
        name: "h1-1m",
        about: "HTTP/1.1, 1 MiB body, keep-alive",
        connections: 16,
        body: 1024 * 1024,
        ..USUAL
    },
    Row {
        name: "h1-churn",
        about: "HTTP/1.1, 128-byte body, a connection for each request",
        generator: Generator::WrkClosing,
        ..USUAL
    },
    Row {
        name: "h2c-small",
        about: "HTTP/2 without TLS to HTTP/1.1, 128-byte body, 16 streams a connection",
        frontend: Frontend::Http2,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        ..USUAL
    },
    Row {
        name: "h1-tls",
        about: "HTTP/1.1 over TLS 1.3 to HTTP/1.1, 128-byte body, keep-alive",
        frontend: Frontend::Http1Tls,
        ..USUAL
    },
    Row {
        name: "h2-tls",
        about: "HTTP/2 over TLS 1.3 to HTTP/1.1, 128-byte body, 16 streams a connection",
        frontend: Frontend::Http2Tls,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        ..USUAL
    },
    Row {
        name: "h1-1m-tls",
        about: "HTTP/1.1 over TLS 1.3 to HTTP/1.1, 1 MiB body, keep-alive",
        frontend: Frontend::Http1Tls,
        connections: 16,
        body: 1024 * 1024,
        ..USUAL
    },
    Row {
        name: "tls-full",
        about: "a full handshake of TLS 1.3 (ECDSA P-256) and one request over HTTP/1.1",
        frontend: Frontend::Http1Tls,
        generator: Generator::WrkClosing,
        connections: 16,
        ..USUAL
    },
    Row {
        name: "tls-resumed",
        about: "a resumed handshake of TLS 1.3 and one request over HTTP/1.1",
        frontend: Frontend::Http1Tls,
        generator: Generator::Resuming,
        connections: 16,
        ..USUAL
    },
    Row {
        name: "grpc",
        about: "gRPC unary without TLS, messages of 128 bytes, 16 calls a connection",
        frontend: Frontend::Http2,
        target: Target::Grpc,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        ..USUAL
    },
    Row {
        name: "grpc-tls",
        about: "gRPC unary over TLS 1.3 to gRPC without, messages of 128 bytes, 16 calls a connection",
        frontend: Frontend::Http2Tls,
        target: Target::Grpc,
        generator: Generator::H2load { streams: 16 },
        connections: 32,
        ..USUAL
    },
    Row {
        name: "grpc-stream",
        about: "gRPC without TLS, a call is answered with 100 messages of 128 bytes, 4 calls a connection",
        frontend: Frontend::Http2,
        target: Target::Grpc,
        generator: Generator::H2load { streams: 4 },
        connections: 16,
        messages: 100,
        ..USUAL
    },
    Row {
        name: "websocket",
        about: "WebSocket without TLS, texts of 64 bytes and their echoes; a request is a message",
        generator: Generator::WebSockets,
        ..USUAL
    },
    Row {
        name: "rules-100",
        about: "as h1-small, with 100 rules on paths, of which the last one holds",
        feature: Feature::Rules(100),
        ..USUAL
    },
    Row {
        name: "sticky",
        about: "as h1-small, with sessions that stay by a cookie, and a client that has one",
        feature: Feature::Sticky,
        ..USUAL
    },
    Row {
        name: "log",
        about: "as h1-small, with an access log as JSON in a file, ours with metrics too",
        feature: Feature::Log,
        variants: &[Variant {
            label: "log off",
            feature: Feature::Plain,
        }],
        ..USUAL
    },
    Row {
        name: "many",
        about: "as h1-small, with 10 rules and 10 targets, and with 10,000 of both",
        feature: Feature::Many {
            count: 10,
            group: 10,
        },
        variants: &[
            Variant {
                label: "10,000 in groups of 10",
                feature: Feature::Many {
                    count: 10_000,
                    group: 10,
                },
            },
            Variant {
                label: "10,000 in one group",
                feature: Feature::Many {
                    count: 10_000,
                    group: 10_000,
                },
            },
        ],
        ..USUAL
    },
];

/// The rows of a comma-separated list of names, or `all`.
pub(crate) fn named(list: &str) -> Result<Vec<&'static Row>> {
    if list == "all" {
        return Ok(ROWS.iter().collect());
    }
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
