//! The beginning of a body, and whether it holds what it must.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use longshore_config::BodyMatch;
use regex::bytes::Regex;

/// The most of a body that is read and looked at. A page about health is not longer.
const BODY_MAX: usize = 64 * 1024;

/// What a body must hold.
#[derive(Debug)]
pub(super) enum Wanted {
    Anything,
    Text(String),
    Regex(Regex),
}

impl Wanted {
    /// # Errors
    /// If the expression is none; a validated configuration has no such one.
    pub(super) fn new(wanted: Option<&BodyMatch>) -> Result<Self, regex::Error> {
        match wanted.map(|wanted| (&wanted.contains, &wanted.regex)) {
            Some((Some(text), _)) => Ok(Self::Text(text.clone())),
            Some((_, Some(text))) => regex::bytes::RegexBuilder::new(text)
                .unicode(false)
                .build()
                .map(Self::Regex),
            _ => Ok(Self::Anything),
        }
    }

    pub(super) fn is_in(&self, body: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Text(text) => memchr::memmem::find(body, text.as_bytes()).is_some(),
            Self::Regex(regex) => regex.is_match(body),
        }
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Anything => "anything".to_owned(),
            Self::Text(text) => format!("{text:?}"),
            Self::Regex(regex) => format!("a match of {:?}", regex.as_str()),
        }
    }
}

/// The beginning of a body: all of it, or its first [`BODY_MAX`] bytes.
///
/// # Errors
/// If it ends before its end.
pub(super) async fn read(mut body: Incoming) -> hyper::Result<Bytes> {
    let mut beginning = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = BODY_MAX - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
            if beginning.len() == BODY_MAX {
                break;
            }
        }
    }
    Ok(beginning.into())
}

#[cfg(test)]
mod tests {
    use longshore_config::BodyMatch;

    use super::Wanted;

    #[test]
    fn a_body_holds_a_text_or_a_match_or_not() {
        let body = b"{\"status\": \"ok\", \"bytes\": \"\xff\xfe\"}";
        let text = |text: &str| BodyMatch {
            contains: Some(text.to_owned()),
            regex: None,
        };
        let regex = |text: &str| BodyMatch {
            contains: None,
            regex: Some(text.to_owned()),
        };
        for (wanted, holds) in [
            (None, true),
            (Some(text("\"ok\"")), true),
            (Some(text("OK")), false),
            (Some(regex("\"status\": *\"(ok|warn)\"")), true),
            (Some(regex("^ok")), false),
            (Some(regex("(?i)OK")), true),
        ] {
            let made = Wanted::new(wanted.as_ref()).expect("an expression");
            assert_eq!(made.is_in(body), holds, "{wanted:?}");
        }
    }
}
