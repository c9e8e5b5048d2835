//! Lines of the log of health checks, with ALB's fields in their order (user guide, "Health check
//! log entries"). Pure.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use longshore_config::{Check, CheckProtocol, ProtocolVersion};

use super::text;
use crate::control::threshold::Failure;

/// What came back of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing that could be read.
    Nothing,
    /// A response without a code.
    Response,
    /// A status of HTTP, or a code of gRPC.
    Code(u16),
}

/// A check that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// `http`, `https`, `h2`, `grpc`, or, for a connection alone, `tcp`.
    pub(crate) kind: &'static str,
    /// Microseconds since 1970-01-01.
    pub(crate) ended: u64,
    pub(crate) took: Duration,
    pub(crate) address: SocketAddr,
    pub(crate) seen: Seen,
    /// None: it passed.
    pub(crate) failure: Option<Failure>,
}

/// How ALB calls what is spoken.
pub(crate) fn kind(check: &Check) -> &'static str {
    match (check.protocol, check.version) {
        (CheckProtocol::Tcp, _) => "tcp",
        (_, ProtocolVersion::Grpc) => "grpc",
        (_, ProtocolVersion::Http2) => "h2",
        (CheckProtocol::Https, ProtocolVersion::Http1) => "https",
        (CheckProtocol::Http, ProtocolVersion::Http1) => "http",
    }
}

/// A line about a check for a group.
pub(crate) fn line(report: &Report, group: &str, out: &mut Vec<u8>) {
    let (whole, part) = (report.took.as_secs(), report.took.subsec_nanos());
    let code = match report.seen {
        Seen::Code(code) => code.to_string(),
        Seen::Nothing | Seen::Response => "-".to_owned(),
    };
    let (status, reason) = match &report.failure {
        None => ("PASS", "-"),
        Some(failure) => ("FAIL", reason(failure, report)),
    };
    out.extend_from_slice(report.kind.as_bytes());
    out.push(b' ');
    text::moment(report.ended, out);
    // Writing into memory does not fail. Which balancer and which of its addresses: there is one.
    writeln!(
        out,
        " {whole}.{part:09} {} {group} {status} {code} {reason} - -",
        report.address
    )
    .unwrap_or_default();
}

/// ALB's codes.
fn reason(failure: &Failure, report: &Report) -> &'static str {
    let is_grpc = report.kind == "grpc";
    match (failure, report.seen) {
        (Failure::Timeout, _) => "TimedOut",
        (Failure::Internal(_), _) => "InternalError",
        (Failure::Status(500..=599), _) => "TargetError",
        (Failure::Status(_), _) => "ResponseCodeMismatch",
        (Failure::Grpc(_), _) => "GRPCUnexpectedStatus",
        (Failure::Failed(_), Seen::Response) if is_grpc => "GRPCStatusHeaderEmpty",
        (Failure::Failed(_), Seen::Code(_)) if is_grpc => "GRPCUnexpectedStatus",
        (Failure::Failed(_), Seen::Code(_)) => "ResponseStringMismatch",
        (Failure::Failed(_), Seen::Nothing | Seen::Response) => "ConnectionReset",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Report, Seen, line};
    use crate::control::threshold::Failure;

    fn said(kind: &'static str, seen: Seen, failure: Option<Failure>) -> String {
        let report = Report {
            kind,
            ended: 1_761_914_699_875_678,
            took: Duration::from_nanos(19_584_011),
            address: ([172, 31, 20, 97], 80).into(),
            seen,
            failure,
        };
        let mut out = Vec::new();
        line(&report, "app", &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_has_albs_fields_in_their_order() {
        assert_eq!(
            said("http", Seen::Code(200), None),
            "http 2025-10-31T12:44:59.875678Z 0.019584011 172.31.20.97:80 app PASS 200 - - -\n"
        );
        let failed = || Failure::Failed("why".to_owned());
        for (kind, seen, failure, end) in [
            (
                "http",
                Seen::Code(502),
                Failure::Status(502),
                "502 TargetError",
            ),
            (
                "http",
                Seen::Code(404),
                Failure::Status(404),
                "404 ResponseCodeMismatch",
            ),
            (
                "http",
                Seen::Code(200),
                failed(),
                "200 ResponseStringMismatch",
            ),
            ("https", Seen::Nothing, failed(), "- ConnectionReset"),
            ("h2", Seen::Nothing, Failure::Timeout, "- TimedOut"),
            (
                "grpc",
                Seen::Code(14),
                Failure::Grpc(14),
                "14 GRPCUnexpectedStatus",
            ),
            ("grpc", Seen::Response, failed(), "- GRPCStatusHeaderEmpty"),
            (
                "tcp",
                Seen::Nothing,
                Failure::Internal("x".to_owned()),
                "- InternalError",
            ),
        ] {
            let line = said(kind, seen, Some(failure));
            assert!(line.ends_with(&format!(" app FAIL {end} - -\n")), "{line}");
        }
    }
}
