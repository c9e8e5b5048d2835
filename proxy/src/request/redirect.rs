//! Redirects with ALB's placeholders. Pure.

use http::{HeaderValue, StatusCode};

use super::answer::Reason;
use super::normal::without_port;
use super::rules::Facts;

/// The longest Location, in bytes (ALB: 8 K).
const LOCATION_MAX: usize = 8 * 1024;

/// A compiled redirect.
#[derive(Debug)]
pub struct Redirect {
    /// Its status.
    pub status: StatusCode,
    /// `HTTP`, `HTTPS` or `#{protocol}`.
    pub protocol: String,
    /// May hold placeholders, like the parts below.
    pub host: String,
    /// A number or `#{port}`.
    pub port: String,
    /// Begins with `/`.
    pub path: String,
    /// Without `?`.
    pub query: String,
}

/// What placeholders stand for.
struct Parts<'p> {
    protocol: &'p str,
    host: &'p str,
    port: &'p str,
    path: &'p str,
    query: &'p str,
}

impl Redirect {
    /// The Location for a request that came by `protocol` (`http`, `https`) to `port`.
    ///
    /// # Errors
    /// The reason for which there is none.
    pub fn location(
        &self,
        facts: &Facts<'_>,
        protocol: &str,
        port: u16,
    ) -> Result<HeaderValue, Reason> {
        let port = port.to_string();
        let parts = Parts {
            protocol,
            host: without_port(facts.host),
            port: &port,
            // ALB: `#{path}` has no leading slash.
            path: facts.path.strip_prefix('/').unwrap_or(facts.path),
            query: facts.query.unwrap_or_default(),
        };
        let protocol = fill(&self.protocol, &parts).to_ascii_lowercase();
        let mut port = fill(&self.port, &parts);
        // Another scheme with the old scheme's port would lead nowhere.
        if self.protocol != "#{protocol}" && protocol != parts.protocol && self.port == "#{port}" {
            port = default_port(&protocol).to_owned();
        }
        let mut location = format!("{protocol}://{}", fill(&self.host, &parts));
        if port != default_port(&protocol) {
            location.push(':');
            location.push_str(&port);
        }
        location.push_str(&fill(&self.path, &parts));
        let query = fill(&self.query, &parts);
        if !query.is_empty() {
            location.push('?');
            location.push_str(&query);
        }
        let location = encoded(location);
        if location.len() > LOCATION_MAX {
            return Err(Reason::RedirectTooLong);
        }
        Ok(HeaderValue::try_from(location).expect("visible ASCII is a field's value"))
    }
}

/// A URL has no bytes but visible ASCII (RFC 3986 §2), and requests that are let in may: browsers
/// encode what they send, other programs do not always.
fn encoded(url: String) -> String {
    if url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return url;
    }
    let mut out = String::with_capacity(url.len() * 3);
    for byte in url.bytes() {
        match byte.is_ascii_graphic() {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn default_port(protocol: &str) -> &'static str {
    if protocol == "https" { "443" } else { "80" }
}

fn fill(template: &str, parts: &Parts<'_>) -> String {
    let mut out = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some((before, from)) = rest.split_once("#{") {
        out.push_str(before);
        let (name, after) = from.split_once('}').unwrap_or((from, ""));
        out.push_str(match name {
            "protocol" => parts.protocol,
            "host" => parts.host,
            "port" => parts.port,
            "path" => parts.path,
            "query" => parts.query,
            // The configuration allows no others.
            _ => "",
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{Facts, Redirect};

    fn location(
        change: impl FnOnce(&mut Redirect),
        host: &str,
        path: &str,
        query: Option<&str>,
    ) -> Option<String> {
        let mut redirect = Redirect {
            status: StatusCode::MOVED_PERMANENTLY,
            protocol: "#{protocol}".to_owned(),
            host: "#{host}".to_owned(),
            port: "#{port}".to_owned(),
            path: "/#{path}".to_owned(),
            query: "#{query}".to_owned(),
        };
        change(&mut redirect);
        let facts = Facts {
            method: "GET",
            host,
            host_name: host,
            path,
            query,
            fields: &[],
            source: [127, 0, 0, 1].into(),
        };
        let value = redirect.location(&facts, "http", 8080).ok()?;
        Some(value.to_str().expect("text").to_owned())
    }

    #[test]
    fn parts_that_are_not_set_stay() {
        assert_eq!(
            location(
                |r| r.path = "/new/#{path}".to_owned(),
                "a.example:8080",
                "/old/x",
                Some("q=1")
            )
            .as_deref(),
            Some("http://a.example:8080/new/old/x?q=1")
        );
    }

    #[test]
    fn https_goes_to_its_own_port() {
        assert_eq!(
            location(
                |r| r.protocol = "HTTPS".to_owned(),
                "a.example:8080",
                "/x",
                None
            )
            .as_deref(),
            Some("https://a.example/x")
        );
        let set = |r: &mut Redirect| {
            r.protocol = "HTTPS".to_owned();
            r.port = "8443".to_owned();
            r.host = "www.#{host}".to_owned();
            r.query = String::new();
        };
        assert_eq!(
            location(set, "a.example", "/x", Some("q")).as_deref(),
            Some("https://www.a.example:8443/x")
        );
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets() {
        assert_eq!(
            location(|r| r.path = "/".to_owned(), "[::1]:8080", "/x", None).as_deref(),
            Some("http://[::1]:8080/")
        );
        assert_eq!(
            location(|r| r.path = "/".to_owned(), "[::1]", "/x", None).as_deref(),
            Some("http://[::1]:8080/")
        );
    }

    #[test]
    fn what_is_no_visible_ascii_is_percent_encoded_and_counts_as_that() {
        fn to(path: &str, query: Option<&str>) -> Option<String> {
            location(|r| r.host = "b".to_owned(), "a", path, query)
        }
        assert_eq!(
            to("/caf\u{e9}", Some("q=\u{1f600}%20")).as_deref(),
            Some("http://b:8080/caf%C3%A9?q=%F0%9F%98%80%20")
        );
        assert_eq!(to(&format!("/{}", "\u{e9}".repeat(2_000)), None), None);
        // Whatever a path is: a head lets these through, and a few that it does not.
        for byte in 0..=0x7FF_u32 {
            let text = char::from_u32(byte).map(String::from).unwrap_or_default();
            assert!(to(&format!("/{text}"), Some(&text)).is_some(), "{byte:#x}");
        }
    }

    #[test]
    fn a_location_beyond_8_kilobytes_is_not_made() {
        let long = format!("/{}", "x".repeat(8 * 1024));
        assert_eq!(
            location(|r| r.host = "b".to_owned(), "a", &long, None),
            None
        );
    }
}
