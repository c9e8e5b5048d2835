//! Pages: how a long list is cut, and what is inside a nextToken.

use crate::error::ApiError;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The page that it asks for, from 2.
    pub page: u32,
    /// The key of the last entry of the page before.
    after: String,
}

impl Token {
    /// Hexadecimal digits, so that nobody is tempted to read or to build one.
    fn encode(&self, operation: &str) -> String {
        let text = format!("{operation} {} {}", self.page, self.after);
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a token of an operation. `None` when it is of another one, or nonsense.
    pub(crate) fn decode(operation: &str, token: &str) -> Option<Self> {
        let digits = token.as_bytes().chunks_exact(2);
        if !digits.remainder().is_empty() {
            return None;
        }
        let bytes: Option<Vec<u8>> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let text = String::from_utf8(bytes?).ok()?;
        let mut parts = text.splitn(3, ' ');
        if parts.next()? != operation {
            return None;
        }
        Some(Self {
            page: parts.next()?.parse().ok()?,
            after: parts.next()?.to_owned(),
        })
    }
}

/// The page number that a call asks for, 1 where it does not say or makes no sense.
pub(crate) fn page_number(operation: &str, token: Option<&str>) -> u32 {
    token
        .and_then(|token| Token::decode(operation, token))
        .map_or(1, |token| token.page)
}

/// Cuts one page out of a list that is sorted by key.
///
/// A page begins behind a key, not at a position: entries that come and go between two calls
/// move nothing else in or out.
pub(crate) fn page<T>(
    operation: &str,
    mut entries: Vec<(String, T)>,
    size: usize,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let mut number = 1;
    if let Some(token) = token {
        let token = Token::decode(operation, token).ok_or_else(|| {
            ApiError::invalid("Invalid token. The nextToken is not of this call.")
        })?;
        entries.retain(|(key, _)| *key > token.after);
        number = token.page;
    }
    let more = entries.len() > size;
    entries.truncate(size);
    let next = entries.last().filter(|_| more).map(|(key, _)| {
        let token = Token {
            page: number + 1,
            after: key.clone(),
        };
        token.encode(operation)
    });
    let page = entries.into_iter().map(|(_, entry)| entry).collect();
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[u32], token: Option<&str>) -> (Vec<u32>, Option<String>) {
        let entries = entries.iter().map(|n| (format!("{n:04}"), *n)).collect();
        page("ListTasks", entries, 2, token).expect("the token is good")
    }

    #[test]
    fn pages_hold_each_entry_once_though_others_come_and_go() {
        let (first, token) = list(&[1, 2, 3, 4], None);
        let (second, end) = list(&[2, 3, 4], token.as_deref());
        assert_eq!((first, second, end), (vec![1, 2], vec![3, 4], None));
    }

    #[test]
    fn a_token_knows_its_page_and_its_operation() {
        let (_, token) = list(&[1, 2, 3], None);
        assert_eq!(page_number("ListTasks", token.as_deref()), 2);
        assert_eq!(page_number("ListServices", token.as_deref()), 1);
        for bad in ["", "0", "zz", "ff", "éé"] {
            assert_eq!(Token::decode("ListTasks", bad), None, "{bad}");
        }
    }
}
