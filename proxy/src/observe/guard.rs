//! Who may ask the admin server. Pure.
//!
//! A page of another site can make a browser send requests to loopback, and by DNS rebinding even
//! read the answers. So a request must name the server by an address or by a known name, and one
//! that changes something must not come from another site's page. Beyond loopback, and wherever
//! there is a token, everything but the two health paths needs it.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_config as config;

/// Paths that tell nothing but whether the process works, for load balancers and supervisors.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// The bounds of the admin server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    /// The hash of the token, so that comparing tells nothing of its length either.
    token: Option<[u8; 32]>,
    hosts: Vec<String>,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No token, or another one.
    Token,
    /// The Host is a name that is not known.
    Host,
    /// It comes from another site's page.
    Site,
}

/// What a request shows of the token.
enum Shown<'h> {
    Nothing,
    /// By a program.
    Bearer(&'h [u8]),
    /// By a browser, which sends it for pages of other sites as well.
    Basic(Vec<u8>),
}

fn hash(text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text).as_ref());
    hash
}

impl Guard {
    /// As the file says.
    pub(crate) fn new(admin: &config::Admin) -> Self {
        let token = admin.token.as_ref();
        Self {
            token: token.map(|token| hash(token.reveal().as_bytes())),
            hosts: admin.allowed_hosts.clone(),
        }
    }

    /// Whether a request may be answered.
    pub(crate) fn judge(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Refused> {
        let reads = method == Method::GET || method == Method::HEAD;
        if reads && OPEN.contains(&path) {
            return Ok(());
        }
        let shown = shown(headers);
        if let Some(token) = &self.token {
            let right = |text: &[u8]| verify_slices_are_equal(&hash(text), token).is_ok();
            match &shown {
                // No browser sends this by itself.
                Shown::Bearer(text) if right(text) => return Ok(()),
                Shown::Basic(text) if right(text) => {}
                _ => return Err(Refused::Token),
            }
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        if !self.knows(host) {
            return Err(Refused::Host);
        }
        if reads {
            return Ok(());
        }
        let origin = text(ORIGIN);
        let same = origin.is_none_or(|origin| {
            let place = origin.split_once("://").map(|(_, place)| place);
            place.is_some_and(|place| place.eq_ignore_ascii_case(host))
        });
        let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
        let fetched = matches!(site, None | Some(b"same-origin" | b"none"));
        if same && fetched && headers.get_all(ORIGIN).iter().count() <= 1 {
            Ok(())
        } else {
            Err(Refused::Site)
        }
    }

    /// Whether the server is called so: by an address, `localhost`, or a name of the file.
    fn knows(&self, host: &str) -> bool {
        let is_address = host.parse::<SocketAddr>().is_ok()
            || host.parse::<IpAddr>().is_ok()
            || host
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|address| address.parse::<IpAddr>().is_ok());
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        is_address
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
    }
}

fn shown(headers: &HeaderMap) -> Shown<'_> {
    let value = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let Some((scheme, rest)) = value.and_then(|value| value.split_at_checked(7)) else {
        return Shown::Nothing;
    };
    if scheme.eq_ignore_ascii_case(b"bearer ") {
        return Shown::Bearer(rest);
    }
    let value = value.unwrap_or_default();
    let (scheme, rest) = value.split_at(6);
    let password = scheme
        .eq_ignore_ascii_case(b"basic ")
        .then(|| STANDARD.decode(rest).ok())
        .flatten()
        .and_then(|pair| {
            let colon = pair.iter().position(|byte| *byte == b':')?;
            Some(pair[colon + 1..].to_vec())
        });
    password.map_or(Shown::Nothing, Shown::Basic)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::{Guard, Refused, hash};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        pairs.collect()
    }

    #[test]
    fn a_page_of_another_site_changes_nothing_and_a_rebound_name_reads_nothing() {
        let guard = Guard {
            token: None,
            hosts: vec!["longshore.internal".to_owned()],
        };
        let judge = |method: Method, pairs: &[(&str, &str)]| {
            guard.judge(&method, "/targets", &headers(pairs))
        };
        for host in [
            "127.0.0.1:9901",
            "127.0.0.1",
            "[::1]:9901",
            "[::1]",
            "localhost:9901",
            "LONGSHORE.internal:9901",
        ] {
            assert_eq!(judge(Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "[::1",
        ] {
            assert_eq!(
                judge(Method::GET, &[("host", host)]),
                Err(Refused::Host),
                "{host}"
            );
        }
        let own = ("host", "127.0.0.1:9901");
        assert_eq!(judge(Method::POST, &[own]), Ok(()));
        let from = |origin| judge(Method::POST, &[own, ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:9901"), Ok(()));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
            assert_eq!(from(origin), Err(Refused::Site), "{origin}");
        }
        let fetch = |site| judge(Method::POST, &[own, ("sec-fetch-site", site)]);
        assert_eq!(fetch("same-origin"), Ok(()));
        assert_eq!(fetch("cross-site"), Err(Refused::Site));
        assert_eq!(fetch("same-site"), Err(Refused::Site));
    }

    #[test]
    fn with_a_token_nothing_but_health_is_told_without_it() {
        let guard = Guard {
            token: Some(hash(b"0123456789abcdef")),
            hosts: Vec::new(),
        };
        let host = ("host", "10.0.0.7:9901");
        let judge =
            |path: &str, pairs: &[(&str, &str)]| guard.judge(&Method::GET, path, &headers(pairs));
        assert_eq!(judge("/livez", &[("host", "any.example")]), Ok(()));
        assert_eq!(judge("/targets", &[host]), Err(Refused::Token));
        let with = |value| judge("/targets", &[host, ("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), Ok(()));
        // base64 of x:0123456789abcdef and of x:no
        assert_eq!(with("Basic eDowMTIzNDU2Nzg5YWJjZGVm"), Ok(()));
        for wrong in [
            "Bearer 0123456789abcde",
            "Bearer ",
            "Basic eDpubw==",
            "Basic",
            "x",
            "0123456789abcdef",
        ] {
            assert_eq!(with(wrong), Err(Refused::Token), "{wrong}");
        }
        // A program with the token may call the server by any name; a browser may not be led.
        let named = ("host", "balancer.example");
        let by = |value| judge("/targets", &[named, ("authorization", value)]);
        assert_eq!(by("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(by("Basic eDowMTIzNDU2Nzg5YWJjZGVm"), Err(Refused::Host));
    }
}
