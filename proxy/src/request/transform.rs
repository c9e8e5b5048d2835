//! Transforms: the Host or the URL written anew by a regular expression, as a rule says. Pure.

use longshore_config::{Piece, Rewrite};

use super::admit::{Admitted, is_authority};

/// A rule's transforms.
#[derive(Debug, Default)]
pub struct Transforms {
    /// Of the Host.
    pub host: Option<Rewriter>,
    /// Of the path with the query.
    pub url: Option<Rewriter>,
}

/// What transforms made of a request; what they left alone is absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    host: Option<String>,
    url: Option<String>,
}

impl Rewritten {
    /// The new Host.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The new path with the query.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The request as its target gets it.
    #[must_use]
    pub fn apply<'r>(&'r self, mut admitted: Admitted<'r>) -> Admitted<'r> {
        if let Some(host) = &self.host {
            admitted.host = Some(host);
        }
        if let Some(url) = &self.url {
            (admitted.path, admitted.query) = match url.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (url.as_str(), None),
            };
        }
        admitted
    }
}

/// A transform that matched gave something that is no Host or no URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

impl Transforms {
    /// Neither.
    pub const NONE: Self = Self {
        host: None,
        url: None,
    };

    /// What they make of a request.
    ///
    /// # Errors
    /// A part that came out is not valid.
    pub fn apply(&self, host: &str, path: &str, query: Option<&str>) -> Result<Rewritten, Invalid> {
        Ok(Rewritten {
            host: self.host(host)?,
            url: self.url(path, query)?,
        })
    }

    /// The new Host. None if it stays.
    ///
    /// # Errors
    /// What came out is no Host.
    fn host(&self, host: &str) -> Result<Option<String>, Invalid> {
        let new = self.host.as_ref().and_then(|rewriter| rewriter.write(host));
        check(new, |new| !new.is_empty() && is_authority(new.as_bytes()))
    }

    /// The new path and query. None if they stay.
    ///
    /// # Errors
    /// What came out has no path, or something that a request line cannot hold.
    fn url(&self, path: &str, query: Option<&str>) -> Result<Option<String>, Invalid> {
        let Some(rewriter) = &self.url else {
            return Ok(None);
        };
        let new = match query {
            Some(query) => rewriter.write(&format!("{path}?{query}")),
            None => rewriter.write(path),
        };
        check(new, |new| {
            new.starts_with('/')
                && new
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        })
    }
}

fn check(
    new: Option<Result<String, Invalid>>,
    is_valid: impl Fn(&str) -> bool,
) -> Result<Option<String>, Invalid> {
    match new.transpose()? {
        Some(new) if !is_valid(&new) => Err(Invalid),
        new => Ok(new),
    }
}

/// A compiled [`Rewrite`].
#[derive(Debug)]
pub struct Rewriter {
    regex: regex::bytes::Regex,
    pieces: Vec<Piece>,
}

impl Rewriter {
    /// `fold`: without regard to ASCII case. None if the configuration should have refused it.
    #[must_use]
    pub fn new(rewrite: &Rewrite, fold: bool) -> Option<Self> {
        Some(Self {
            regex: longshore_config::regex(&rewrite.regex, fold).ok()?,
            pieces: rewrite.pieces().ok()?,
        })
    }

    /// The text with its first match replaced. None if nothing matches.
    fn write(&self, text: &str) -> Option<Result<String, Invalid>> {
        let found = self.regex.captures(text.as_bytes())?;
        let whole = found.get(0)?;
        let bytes = text.as_bytes();
        let mut out = bytes[..whole.start()].to_vec();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Group(group) => {
                    out.extend_from_slice(found.get(*group).map_or(b"", |part| part.as_bytes()));
                }
            }
        }
        out.extend_from_slice(&bytes[whole.end()..]);
        Some(String::from_utf8(out).map_err(|_| Invalid))
    }
}

#[cfg(test)]
mod tests {
    use longshore_config::Rewrite;

    use super::{Invalid, Rewriter, Transforms};

    fn rewriter(regex: &str, replace: &str, fold: bool) -> Option<Rewriter> {
        let rewrite = Rewrite {
            regex: regex.to_owned(),
            replace: replace.to_owned(),
        };
        Rewriter::new(&rewrite, fold)
    }

    fn url(regex: &str, replace: &str, path: &str, query: Option<&str>) -> Option<String> {
        let transforms = Transforms {
            host: None,
            url: rewriter(regex, replace, false),
        };
        transforms.url(path, query).expect("valid")
    }

    #[test]
    fn the_url_is_written_anew_as_alb_documents_it() {
        let regex = "^/dp/([A-Za-z0-9]+)/?$";
        let replace = "/product.php?id=$1";
        let new = url(regex, replace, "/dp/B09G3HRMVB", None);
        assert_eq!(new.as_deref(), Some("/product.php?id=B09G3HRMVB"));
        assert_eq!(
            url(regex, replace, "/other", None),
            None,
            "no match, no change"
        );
        let new = url("^/api(/.*)$", "$1", "/api/v1/x", Some("a=b"));
        assert_eq!(new.as_deref(), Some("/v1/x?a=b"), "the query is part of it");
        let new = url("a", "$$$0", "/a/a", None);
        assert_eq!(new.as_deref(), Some("/$a/a"), "the first match only");
    }

    #[test]
    fn the_host_is_written_anew_without_regard_to_case() {
        let transforms = Transforms {
            host: rewriter("^mywebsite-(.+)\\.com$", "internal.dev.$1.example", true),
            url: None,
        };
        assert_eq!(
            transforms.host("MyWebsite-shop.com"),
            Ok(Some("internal.dev.shop.example".to_owned()))
        );
        assert_eq!(transforms.host("other.com"), Ok(None));
    }

    #[test]
    fn what_is_no_host_and_no_url_is_an_error() {
        let transforms = |regex, replace| Transforms {
            host: rewriter(regex, replace, true),
            url: rewriter(regex, replace, false),
        };
        assert_eq!(transforms("^.*$", "").host("a"), Err(Invalid));
        assert_eq!(transforms("^.*$", "a/b").host("a"), Err(Invalid));
        assert_eq!(transforms("^/", "").url("/a", None), Err(Invalid));
        assert_eq!(transforms("a", "#").url("/a", None), Err(Invalid));
        assert_eq!(transforms("%20", " ").url("/a%20b", None), Err(Invalid));
    }
}
