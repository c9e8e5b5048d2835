//! An address, and whether it may be loaded. Pure.

use std::net::SocketAddr;

use http::Uri;

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// As it is shown.
    pub(crate) url: String,
    /// Whether TLS is spoken.
    pub(crate) secure: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What Host says.
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Target {
    /// `name` is that of the argument, for messages.
    pub(crate) fn parse(name: &str, url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{name}: {url:?}: {why}, such as http://127.0.0.1:8080/");
        let uri: Uri = url.parse().map_err(|_| wrong("expected a URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(wrong("expected http:// or https://")),
            None => return Err(wrong("expected a URL that begins with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("expected a host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong(
                "say a password with -H 'authorization: …' instead; expected a URL",
            ));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // `Uri` takes any text as port and tells nothing of it.
        let said = authority.as_str().rsplit_once(':').map(|(_, port)| port);
        let said = said.filter(|port| !port.contains(']'));
        let port = match (said, uri.port_u16()) {
            (_, Some(0)) => return Err(wrong("port 0 cannot be connected to; expected a URL")),
            (_, Some(port)) => port,
            (Some(_), None) => return Err(wrong("a port is 1 to 65535; expected a URL")),
            (None, None) => {
                if secure {
                    443
                } else {
                    80
                }
            }
        };
        if host.is_empty() {
            return Err(wrong("expected a host"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            url: url.to_owned(),
            secure,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }

    /// Whether requests to both are the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let host = self.host.eq_ignore_ascii_case(&other.host);
        (host, self.port, self.secure, &self.path) == (true, other.port, other.secure, &other.path)
    }
}

/// The first address that is not of this machine alone.
pub(crate) fn beyond_loopback(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let beyond = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    addresses.iter().find(beyond).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_path() {
        let target = Target::parse("URL_A", "https://[::1]:8443/a?b=c").expect("a URL");
        assert!(target.secure);
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        assert_eq!(target.path, "/a?b=c");
        assert_eq!(target.authority, "[::1]:8443");
        let bare = Target::parse("URL_A", "http://a.example").expect("a URL");
        assert_eq!((bare.port, bare.path.as_str()), (80, "/"));
        assert_eq!(
            Target::parse("URL_A", "https://[::1]").expect("a URL").port,
            443
        );
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_place() {
        for wrong in [
            "",
            "a",
            "/x",
            "127.0.0.1:80",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://u:p@a/",
            "http://a:0/",
            "http://a:70000/",
            "http://a:x/",
            "http://a b/",
        ] {
            let error = Target::parse("URL_B", wrong).expect_err(wrong);
            assert!(error.starts_with("URL_B: "), "{error}");
            assert!(error.contains("http://127.0.0.1:8080/"), "{error}");
        }
    }

    #[test]
    fn the_same_address_is_told_however_it_is_written() {
        let parse = |url| Target::parse("URL_A", url).expect("a URL");
        assert!(parse("http://LOCALHOST").is_same(&parse("http://localhost:80/")));
        assert!(!parse("http://localhost/a").is_same(&parse("http://localhost/b")));
        assert!(!parse("http://localhost:443").is_same(&parse("https://localhost")));
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let own = [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ]
        .map(parse);
        assert_eq!(beyond_loopback(&own), None);
        for other in [
            "10.0.0.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "[2001:db8::1]:1",
            "128.0.0.1:1",
        ] {
            let other = parse(other);
            assert_eq!(beyond_loopback(&[own[0], other]), Some(other));
        }
    }
}
