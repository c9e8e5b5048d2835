//! Patterns of rule conditions: `*` stands for any characters, `?` for exactly one.

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
