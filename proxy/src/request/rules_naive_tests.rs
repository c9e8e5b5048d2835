//! Compiled rules against a reader that takes the file's words one by one: no index, no compiled
//! pattern, nothing shared with what is tested but the file's own types.

use std::net::IpAddr;

use longshore_config::{Condition, Config, Rule};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Action, Facts};
use crate::control::compile::rule_table;
use crate::http1::field::Field;
use crate::request::normal::without_port;

/// A request as the naive reader sees it.
struct Request {
    method: &'static str,
    host: String,
    path: String,
    query: Option<String>,
    fields: Vec<(&'static str, String)>,
    source: IpAddr,
}

/// `*` is any characters, `?` exactly one. Both texts are in small letters if case does not count.
fn wild(pattern: &[char], text: &[char], escapes: bool) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['\\', next, rest @ ..] if escapes => {
            text.first() == Some(next) && wild(rest, &text[1..], escapes)
        }
        ['*', rest @ ..] => (0..=text.len()).any(|from| wild(rest, &text[from..], escapes)),
        ['?', rest @ ..] => !text.is_empty() && wild(rest, &text[1..], escapes),
        [one, rest @ ..] => text.first() == Some(one) && wild(rest, &text[1..], escapes),
    }
}

fn matches(pattern: &str, text: &str, fold: bool, escapes: bool) -> bool {
    let chars = |text: &str| -> Vec<char> {
        if fold {
            text.to_ascii_lowercase().chars().collect()
        } else {
            text.chars().collect()
        }
    };
    wild(&chars(pattern), &chars(text), escapes)
}

fn searches(expression: &str, text: &str, fold: bool) -> bool {
    regex::RegexBuilder::new(expression)
        .case_insensitive(fold)
        .build()
        .expect("valid")
        .is_match(text)
}

fn any(values: &[String], expressions: &[String], text: &str, fold: bool) -> bool {
    values.iter().any(|value| matches(value, text, fold, false))
        || expressions
            .iter()
            .any(|expression| searches(expression, text, fold))
}

fn holds(condition: &Condition, request: &Request) -> bool {
    if let Some(host) = &condition.host_header {
        let name = request.host.split(':').next().unwrap_or_default();
        return host.values.iter().any(|value| {
            // Whoever names a port means the whole field.
            let text = if value.contains(':') {
                &request.host
            } else {
                name
            };
            matches(value, text, true, false)
        }) || host
            .regex_values
            .iter()
            .any(|expression| searches(expression, name, true));
    }
    if let Some(path) = &condition.path_pattern {
        return any(&path.values, &path.regex_values, &request.path, false);
    }
    if let Some(method) = &condition.http_request_method {
        return method.values.iter().any(|value| value == request.method);
    }
    if let Some(header) = &condition.http_header {
        return request.fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case(&header.http_header_name)
                && any(&header.values, &header.regex_values, value, true)
        });
    }
    if let Some(pairs) = &condition.query_string {
        return request.query.as_ref().is_some_and(|query| {
            query.split('&').any(|given| {
                let (key, value) = given.split_once('=').unwrap_or((given, ""));
                pairs.iter().any(|pair| {
                    let wanted = pair.key.as_ref();
                    wanted.is_none_or(|wanted| matches(wanted, key, true, true))
                        && matches(&pair.value, value, true, true)
                })
            })
        });
    }
    let networks = condition.source_ip.as_ref().expect("one of the six kinds");
    networks
        .values
        .iter()
        .any(|network| network.0.contains(&request.source))
}

/// The priority of the first rule that holds.
fn first(config: &Config, request: &Request) -> Option<u64> {
    let mut rules: Vec<&Rule> = config.listeners[0].rules.iter().collect();
    rules.sort_by_key(|rule| rule.priority.get());
    let found = rules.into_iter().find(|rule| {
        rule.condition
            .iter()
            .all(|condition| holds(condition, request))
    });
    found.map(|rule| rule.priority.get())
}

struct Maker {
    random: SmallRng,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..=self.below(most)).map(|_| self.one(pieces)).collect()
    }

    /// A pattern: a text with wildcards in it.
    fn pattern(&mut self, begin: &str, pieces: &[&str]) -> String {
        let mut text = begin.to_owned() + &self.text(pieces, 3);
        for _ in 0..self.below(3) {
            let at = begin.len() + self.below(text.len() - begin.len() + 1);
            text.insert(at, self.one(&['*', '*', '?']));
        }
        text
    }

    fn expression(&mut self) -> &'static str {
        self.one(&[
            "^/a", "a$", "^[ab]+$", "(a|b)", "^/(a|b)/", "b?a", "x{1,2}", "^/.*/b$", "\\.com$",
            "^a\\.", "(?i)^/B",
        ])
    }

    fn list(&mut self, mut each: impl FnMut(&mut Self) -> String) -> String {
        let count = 1 + self.below(3);
        let all: Vec<String> = (0..count).map(|_| each(self)).collect();
        format!("[{}]", all.join(", "))
    }

    fn alternatives(&mut self, begin: &str, pieces: &[&str]) -> String {
        if self.below(4) == 0 {
            let list = self.list(|this| format!("'{}'", this.expression()));
            format!("regex_values: {list}")
        } else {
            let list = self.list(|this| format!("'{}'", this.pattern(begin, pieces)));
            format!("values: {list}")
        }
    }

    /// Each kind at most once, as the file wants it; the kinds that may be there more often, twice.
    fn conditions(&mut self) -> String {
        let mut all = Vec::new();
        let kinds = 1 + self.below(3);
        let mut left = vec![0, 0, 1, 1, 2, 3, 3, 4, 4, 5];
        for _ in 0..kinds {
            let kind = left.remove(self.below(left.len()));
            // Of these a rule has one.
            if matches!(kind, 0 | 1 | 2 | 5) {
                left.retain(|other| *other != kind);
            }
            all.push(match kind {
                0 => {
                    let values = if self.below(4) == 0 {
                        self.alternatives("", &["a", "b", "x"])
                    } else {
                        let list = self.list(|this| {
                            let port = this.one(&["", "", "", ":80", ":8080"]);
                            format!(
                                "'{}{port}'",
                                this.pattern("", &["a", "B", "a.", "b.", ".com"])
                            )
                        });
                        format!("values: {list}")
                    };
                    format!("{{host_header: {{{values}}}}}")
                }
                1 => format!(
                    "{{path_pattern: {{{}}}}}",
                    self.alternatives("/", &["a", "b", "/", "A", "a/"])
                ),
                2 => {
                    let list = self.list(|this| this.one(&["GET", "PUT", "X-A"]).to_owned());
                    format!("{{http_request_method: {{values: {list}}}}}")
                }
                3 => format!(
                    "{{http_header: {{http_header_name: {}, {}}}}}",
                    self.one(&["X-One", "x-two"]),
                    self.alternatives("", &["a", "B", "b", "x"])
                ),
                4 => {
                    let list = self.list(|this| {
                        let value = this.pattern("", &["a", "B", "\\\\*", "\\\\?", "b"]);
                        let value = value.replace("\\\\", "\\");
                        if this.below(2) == 0 {
                            format!("{{value: '{value}'}}")
                        } else {
                            format!(
                                "{{key: '{}', value: '{value}'}}",
                                this.one(&["k", "K*", "?"])
                            )
                        }
                    });
                    format!("{{query_string: {list}}}")
                }
                _ => {
                    let list = self.list(|this| {
                        this.one(&["10.0.0.0/30", "10.0.0.2", "'2001:db8::/64'", "0.0.0.0/1"])
                            .to_owned()
                    });
                    format!("{{source_ip: {{values: {list}}}}}")
                }
            });
        }
        all.join(", ")
    }

    fn rules(&mut self) -> Config {
        let count = 1 + self.below(25);
        let mut priorities: Vec<u64> = Vec::new();
        let mut rules = String::new();
        while priorities.len() < count {
            let priority = 1 + self.below(1_000) as u64;
            if priorities.contains(&priority) {
                continue;
            }
            priorities.push(priority);
            let conditions = self.conditions();
            rules.push_str(&format!(
                "      - {{priority: {priority}, condition: [{conditions}], action: [{{type: fixed_response, fixed_response: {{status_code: 200, message_body: '{priority}'}}}}]}}\n"
            ));
        }
        let text = format!(
            "listeners:\n  - name: l\n    port: 80\n    default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]\n    rules:\n{rules}"
        );
        longshore_config::parse("test", &text, &|_| None)
            .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    fn request(&mut self) -> Request {
        let query = (self.below(3) > 0).then(|| {
            let pairs: Vec<String> = (0..=self.below(2))
                .map(|_| {
                    let key = self.one(&["k", "K", "kk", "v"]);
                    match self.below(4) {
                        0 => key.to_owned(),
                        _ => format!("{key}={}", self.text(&["a", "b", "*", "?", "B"], 3)),
                    }
                })
                .collect();
            pairs.join("&")
        });
        let fields = (0..self.below(4))
            .map(|_| {
                let name = self.one(&["X-One", "x-one", "X-TWO", "Other"]);
                (name, self.text(&["a", "b", "x", "A"], 3))
            })
            .collect();
        Request {
            method: self.one(&["GET", "PUT", "X-A", "get"]),
            host: self.text(&["a", "B", "a.", "b.", ".com"], 3)
                + self.one(&["", "", ":80", ":8080"]),
            path: format!("/{}", self.text(&["a", "b", "/", "A", "a/"], 4)),
            query,
            fields,
            source: self
                .one(&[
                    "10.0.0.1",
                    "10.0.0.2",
                    "10.0.0.9",
                    "192.0.2.1",
                    "2001:db8::7",
                ])
                .parse()
                .expect("an address"),
        }
    }
}

#[test]
fn compiled_rules_find_what_a_naive_reader_of_the_file_finds() {
    let seed = std::env::var("LONGSHORE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_127);
    println!("LONGSHORE_SEED={seed}");
    let mut maker = Maker {
        random: SmallRng::seed_from_u64(seed),
    };
    let (mut met, mut missed) = (0, 0);
    for round in 0..300 {
        let config = maker.rules();
        let table = rule_table(&config.listeners[0], &[], &|_| None);
        for _ in 0..60 {
            let request = maker.request();
            let expected = first(&config, &request);
            let fields: Vec<Field<'_>> = request
                .fields
                .iter()
                .map(|(name, value)| Field {
                    name,
                    value: value.as_bytes(),
                })
                .collect();
            let facts = Facts {
                method: request.method,
                host: &request.host,
                host_name: without_port(&request.host),
                path: &request.path,
                query: request.query.as_deref(),
                fields: &fields,
                source: request.source,
            };
            let Action::Fixed(fixed) = table.action(&facts) else {
                panic!("all of them are fixed responses");
            };
            let found = std::str::from_utf8(&fixed.body)
                .expect("a number")
                .parse()
                .ok();
            assert_eq!(
                found, expected,
                "round {round}: {facts:?} with {:#?}",
                config.listeners[0].rules
            );
            *(if expected.is_some() {
                &mut met
            } else {
                &mut missed
            }) += 1;
        }
    }
    assert!(met > 3_000 && missed > 1_000, "{met} met, {missed} missed");
}
