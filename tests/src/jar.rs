//! A client that keeps cookies, as a browser does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::wire::{Response, Wire};

/// Cookies by name. Attributes are not looked at: a test says itself what is sent, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar(pub BTreeMap<String, String>);

impl Jar {
    /// The Cookie field's value.
    #[must_use]
    pub fn header(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    /// Takes the cookies that a response sets.
    pub fn take(&mut self, response: &Response) {
        for line in set_cookies(response) {
            let pair = line.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie");
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Sends the cookies with a GET on this connection, and keeps those that come back.
    pub async fn get(&mut self, wire: &mut Wire, path: &str) -> Response {
        let cookies = self.header();
        let field = if cookies.is_empty() {
            String::new()
        } else {
            format!("Cookie: {cookies}\r\n")
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{field}\r\n");
        wire.send(request).await;
        let response = crate::within("a response", wire.response()).await;
        self.take(&response);
        response
    }

    /// The same on a new connection.
    pub async fn visit(&mut self, address: SocketAddr, path: &str) -> Response {
        self.get(&mut Wire::connect(address).await, path).await
    }
}

/// The Set-Cookie fields of a response.
#[must_use]
pub fn set_cookies(response: &Response) -> Vec<&str> {
    let fields = response.head.fields.iter();
    let set = fields.filter(|(name, _)| name == "set-cookie");
    set.map(|(_, value)| value.as_str()).collect()
}
