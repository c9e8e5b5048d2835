//! Cross-origin requests of browsers (Fetch, "HTTP CORS protocol"). Pure.

use longshore_config as config;

use super::edits::Edits;
use super::pattern::Pattern;
use super::rules::Facts;
use crate::http1::field::{is, list};

/// Which origins may do what.
#[derive(Debug)]
pub struct Cors {
    any: bool,
    origins: Vec<Pattern>,
    methods: String,
    headers: String,
    /// All request fields that are asked for.
    any_headers: bool,
    expose: String,
    credentials: bool,
    max_age: String,
}

/// What a request means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// To be answered here, with these fields.
    Preflight(Edits),
    /// To be answered by its action, with these fields.
    Request(Edits),
}

impl Cors {
    /// The settings of the file.
    #[must_use]
    pub fn new(settings: &config::Cors) -> Self {
        let mut methods = vec!["GET".to_owned(), "HEAD".to_owned(), "POST".to_owned()];
        let more = settings.allow_methods.iter();
        methods.extend(
            more.filter(|name| !matches!(name.as_str(), "GET" | "HEAD" | "POST"))
                .cloned(),
        );
        let named = settings.allow_headers.iter();
        let named: Vec<&str> = named
            .map(String::as_str)
            .filter(|name| *name != "*")
            .collect();
        Self {
            any: settings.allow_origins.iter().any(|origin| origin == "*"),
            origins: settings
                .allow_origins
                .iter()
                .map(|origin| Pattern::new(origin, false, false))
                .collect(),
            methods: methods.join(", "),
            any_headers: named.len() < settings.allow_headers.len(),
            headers: named.join(", "),
            expose: settings.expose_headers.join(", "),
            credentials: settings.allow_credentials,
            max_age: settings.max_age.get().as_secs().to_string(),
        }
    }

    /// What a request means, and what its response says.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Meaning {
        let field = |name: &str| {
            let mut fields = facts.fields.iter();
            let found = fields.find(|field| is(field.name, name))?;
            std::str::from_utf8(found.value).ok()
        };
        let origin = field("origin");
        let method = field("access-control-request-method");
        let mut edits = self.grant(origin);
        let granted = edits
            .set
            .iter()
            .any(|(name, _)| name == "Access-Control-Allow-Origin");
        if !(facts.method == "OPTIONS" && origin.is_some() && method.is_some()) {
            if !self.expose.is_empty() && granted {
                put(&mut edits, "Access-Control-Expose-Headers", &self.expose);
            }
            return Meaning::Request(edits);
        }
        if granted {
            put(&mut edits, "Access-Control-Allow-Methods", &self.methods);
            let asked = field("access-control-request-headers").unwrap_or_default();
            // Names alone: nothing else of the request comes back in a response.
            let names = list(asked.as_bytes());
            let are_names = names.into_iter().all(|name| {
                let token =
                    |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
                name.iter().all(token)
            });
            if self.any_headers && are_names && !asked.is_empty() {
                put(&mut edits, "Access-Control-Allow-Headers", asked);
            } else if !self.headers.is_empty() {
                put(&mut edits, "Access-Control-Allow-Headers", &self.headers);
            }
            put(&mut edits, "Access-Control-Max-Age", &self.max_age);
        }
        if self.any_headers {
            edits.add.push((
                "Vary".to_owned(),
                "Access-Control-Request-Headers".to_owned(),
            ));
        }
        Meaning::Preflight(edits)
    }

    /// What every response says to an origin. One that is not allowed is told nothing, and what the
    /// target says about it does not count.
    fn grant(&self, origin: Option<&str>) -> Edits {
        let mut edits = Edits::default();
        let allowed = origin.filter(|origin| {
            self.any
                || self.origins.iter().any(|pattern| {
                    pattern.matches(origin.as_bytes())
                        && !origin.bytes().skip(8).any(|byte| byte == b'/')
                })
        });
        match allowed {
            // Without credentials one response is good for all origins.
            Some(_) if self.any => put(&mut edits, "Access-Control-Allow-Origin", "*"),
            Some(origin) => {
                put(&mut edits, "Access-Control-Allow-Origin", origin);
                if self.credentials {
                    put(&mut edits, "Access-Control-Allow-Credentials", "true");
                }
            }
            None => {}
        }
        for name in [
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Credentials",
            "Access-Control-Expose-Headers",
        ] {
            if !edits.drops(name) {
                edits.remove.push(name.to_owned());
            }
        }
        if !self.any {
            // Caches must not give one origin's response to another.
            edits.add.push(("Vary".to_owned(), "Origin".to_owned()));
        }
        edits
    }
}

fn put(edits: &mut Edits, name: &str, value: &str) {
    edits.remove.retain(|removed| removed != name);
    edits.set.push((name.to_owned(), value.to_owned()));
}

#[cfg(test)]
mod tests {
    use longshore_config::Span;

    use super::{Cors, Facts, Meaning};
    use crate::http1::field::Field;

    fn cors(origins: &[&str], headers: &[&str], credentials: bool) -> Cors {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Cors::new(&longshore_config::Cors {
            allow_origins: owned(origins),
            allow_methods: owned(&["PUT", "GET"]),
            allow_headers: owned(headers),
            expose_headers: owned(&["X-Total"]),
            allow_credentials: credentials,
            max_age: Span::default(),
        })
    }

    /// What a response says, and whether it is made here.
    fn says(cors: &Cors, method: &str, fields: &[(&str, &str)]) -> (bool, Vec<String>) {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| Field {
                name,
                value: value.as_bytes(),
            })
            .collect();
        let facts = Facts {
            method,
            host: "a",
            host_name: "a",
            path: "/",
            query: None,
            fields: &fields,
            source: [127, 0, 0, 1].into(),
        };
        let (here, edits) = match cors.judge(&facts) {
            Meaning::Preflight(edits) => (true, edits),
            Meaning::Request(edits) => (false, edits),
        };
        let said = edits.set.iter().chain(&edits.add);
        (
            here,
            said.map(|(name, value)| format!("{name}: {value}"))
                .collect(),
        )
    }

    #[test]
    fn a_preflight_request_is_answered_and_others_are_told_what_they_may_read() {
        let named = cors(
            &["https://shop.example", "https://*.b.example"],
            &["X-Token"],
            true,
        );
        let (here, said) = says(
            &named,
            "OPTIONS",
            &[
                ("Origin", "https://shop.example"),
                ("Access-Control-Request-Method", "PUT"),
                ("Access-Control-Request-Headers", "x-token"),
            ],
        );
        assert!(here);
        assert_eq!(
            said,
            [
                "Access-Control-Allow-Origin: https://shop.example",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Allow-Methods: GET, HEAD, POST, PUT",
                "Access-Control-Allow-Headers: X-Token",
                "Access-Control-Max-Age: 7200",
                "Vary: Origin",
            ]
        );
        let (here, said) = says(&named, "GET", &[("Origin", "https://x.b.example")]);
        assert!(!here);
        assert_eq!(
            said,
            [
                "Access-Control-Allow-Origin: https://x.b.example",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Expose-Headers: X-Total",
                "Vary: Origin",
            ]
        );
        // OPTIONS of a program is not a preflight request.
        assert!(!says(&named, "OPTIONS", &[("Origin", "https://shop.example")]).0);
        assert!(
            !says(
                &named,
                "OPTIONS",
                &[("Access-Control-Request-Method", "PUT")]
            )
            .0
        );
    }

    #[test]
    fn an_origin_that_is_not_allowed_is_told_nothing() {
        let named = cors(
            &["https://shop.example", "https://*.b.example"],
            &["*"],
            false,
        );
        for origin in [
            "https://shop.example.evil",
            "http://shop.example",
            "https://b.example",
            "https://evil/x.b.example",
            "null",
            "",
        ] {
            let (_, said) = says(&named, "GET", &[("Origin", origin)]);
            assert_eq!(said, ["Vary: Origin"], "{origin}");
            let preflight = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
            let (here, said) = says(&named, "OPTIONS", &preflight);
            assert!(here);
            assert_eq!(
                said,
                ["Vary: Origin", "Vary: Access-Control-Request-Headers"]
            );
        }
    }

    #[test]
    fn all_origins_and_all_fields_are_told_so() {
        let any = cors(&["*"], &["*"], false);
        assert_eq!(
            says(&any, "GET", &[("Origin", "null")]).1,
            [
                "Access-Control-Allow-Origin: *",
                "Access-Control-Expose-Headers: X-Total"
            ]
        );
        assert_eq!(says(&any, "GET", &[]).1, [""; 0]);
        let fields = |asked| {
            [
                ("Origin", "https://a"),
                ("Access-Control-Request-Method", "PUT"),
                ("Access-Control-Request-Headers", asked),
            ]
        };
        let (_, said) = says(&any, "OPTIONS", &fields("x-a, x-b"));
        assert!(
            said.contains(&"Access-Control-Allow-Headers: x-a, x-b".to_owned()),
            "{said:?}"
        );
        let (_, said) = says(&any, "OPTIONS", &fields("x a"));
        assert!(
            !said.iter().any(|line| line.contains("Allow-Headers")),
            "{said:?}"
        );
    }
}
