//! Patterns of rule conditions: `*` stands for any characters, `?` for exactly one; and regular
//! expressions. Pure.

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, Look};

use super::trie::Key;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Box<[Token]>,
    fold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Any,
}

impl Pattern {
    /// `fold`: without regard to ASCII case. `escapes`: `\` takes the meaning off the next
    /// character (ALB has that in query strings).
    #[must_use]
    pub fn new(text: &str, fold: bool, escapes: bool) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'\\' if escapes && bytes.peek().is_some() => {
                    Token::Byte(folded(bytes.next().unwrap_or(byte), fold))
                }
                b'*' => Token::Any,
                b'?' => Token::One,
                byte => Token::Byte(folded(byte, fold)),
            });
        }
        // Several stars in a row say the same as one, but cost more.
        tokens.dedup_by(|a, b| *a == Token::Any && *b == Token::Any);
        Self {
            tokens: tokens.into(),
            fold,
        }
    }

    /// Whether the whole text matches. Time is at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let tokens = &self.tokens;
        let (mut t, mut p) = (0, 0);
        // Where to go on when what follows the latest star does not match.
        let mut back: Option<(usize, usize)> = None;
        while t < text.len() {
            match tokens.get(p) {
                Some(Token::Any) => {
                    back = Some((p + 1, t));
                    p += 1;
                }
                Some(Token::One) => {
                    p += 1;
                    t += 1;
                }
                Some(Token::Byte(byte)) if *byte == folded(text[t], self.fold) => {
                    p += 1;
                    t += 1;
                }
                _ => match back {
                    Some((after, from)) => {
                        back = Some((after, from + 1));
                        p = after;
                        t = from + 1;
                    }
                    None => return false,
                },
            }
        }
        tokens[p..].iter().all(|token| *token == Token::Any)
    }

    /// What each text that matches begins with.
    pub(super) fn beginning(&self) -> Key {
        self.key(self.tokens.iter())
    }

    /// What each text that matches ends with, backwards.
    pub(super) fn end(&self) -> Key {
        self.key(self.tokens.iter().rev())
    }

    fn key<'t>(&self, tokens: impl Iterator<Item = &'t Token>) -> Key {
        let bytes: Vec<u8> = tokens
            .map_while(|token| match token {
                Token::Byte(byte) => Some(*byte),
                Token::One | Token::Any => None,
            })
            .collect();
        Key {
            whole: bytes.len() == self.tokens.len(),
            bytes,
        }
    }
}

/// A compiled regular expression. It holds if it is found anywhere in a text, unless it has `^` or
/// `$`. Time is linear in the text: there is no backtracking.
#[derive(Debug, Clone)]
pub struct Regex {
    regex: regex::bytes::Regex,
    beginnings: Vec<Key>,
    ends: Vec<Key>,
}

impl Regex {
    /// `fold`: without regard to ASCII case. None if the configuration should have refused it.
    #[must_use]
    pub fn new(text: &str, fold: bool) -> Option<Self> {
        let regex = longshore_config::regex(text, fold).ok()?;
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .build()
            .parse(text);
        let keys = |kind| match &hir {
            Ok(hir) => literals(hir, kind, fold),
            Err(_) => vec![Key::ANY],
        };
        Some(Self {
            regex,
            beginnings: keys(ExtractKind::Prefix),
            ends: keys(ExtractKind::Suffix),
        })
    }

    /// Whether it is found in a text.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// What each text that matches begins with: one of these.
    pub(super) fn beginnings(&self) -> Vec<Key> {
        self.beginnings.clone()
    }

    /// What each text that matches ends with, backwards: one of these.
    pub(super) fn ends(&self) -> Vec<Key> {
        self.ends.clone()
    }
}

/// The texts that a match surely begins or ends with, if the expression is bound to that end.
///
/// With `fold` the literals are those of the expression as it is written, in small letters, and
/// they are looked for in a text in small letters.
fn literals(hir: &Hir, kind: ExtractKind, fold: bool) -> Vec<Key> {
    let properties = hir.properties();
    let bound = match kind {
        ExtractKind::Suffix => properties.look_set_suffix().contains(Look::End),
        _ => properties.look_set_prefix().contains(Look::Start),
    };
    let found = Extractor::new().kind(kind.clone()).extract(hir);
    let Some(literals) = found.literals().filter(|_| bound) else {
        return vec![Key::ANY];
    };
    let keys = literals.iter().map(|literal| {
        let mut bytes: Vec<u8> = literal.as_bytes().to_vec();
        if matches!(kind, ExtractKind::Suffix) {
            bytes.reverse();
        }
        if fold {
            bytes.make_ascii_lowercase();
        }
        Key {
            bytes,
            whole: false,
        }
    });
    keys.collect()
}

fn folded(byte: u8, fold: bool) -> u8 {
    if fold {
        byte.to_ascii_lowercase()
    } else {
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_and_question_marks_match_as_documented() {
        let cases = [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("/img/*", "/img/", true),
            ("/img/*", "/img/a/b.png", true),
            ("/img/*", "/img", false),
            ("/img/*/pics", "/img/a/b/pics", true),
            ("/img/*/pics", "/img//pic", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("?", "a", true),
            ("?", "", false),
            ("??", "a", false),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("a**b", "ab", true),
            ("a*?b", "ab", false),
            ("a*?b", "axb", true),
        ];
        for (pattern, text, expected) in cases {
            let got = Pattern::new(pattern, false, false).matches(text.as_bytes());
            assert_eq!(got, expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn case_counts_unless_folded() {
        assert!(!Pattern::new("/A", false, false).matches(b"/a"));
        assert!(Pattern::new("API.example.com", true, false).matches(b"api.EXAMPLE.com"));
    }

    #[test]
    fn escapes_hold_only_where_they_are_asked_for() {
        assert!(Pattern::new(r"2\*", true, true).matches(b"2*"));
        assert!(!Pattern::new(r"2\*", true, true).matches(b"2x"));
        assert!(Pattern::new(r"2\*", true, false).matches(br"2\x"));
    }

    #[test]
    fn many_stars_do_not_cost_exponential_time() {
        let pattern = Pattern::new(&"*a".repeat(50), false, false);
        assert!(
            !pattern.matches(
                &[b'a'; 20_000]
                    .map(|byte| byte)
                    .split_last()
                    .map(|(_, rest)| [rest, b"b"].concat())
                    .unwrap_or_default()
            )
        );
    }
}
