//! From the bytes of a targets file to its values. JSON or YAML; no IO.

use serde_json::Value;
use serde_json::error::Category;

/// The values of a file's bytes. Messages call it `file`.
///
/// # Errors
/// Why they are not those of a whole file: with the place, if it is known, and what would mend it.
pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = place(bytes.get(..error.valid_up_to()).unwrap_or_default());
        format!("{file}:{line}:{column}: not UTF-8 here; write the file in UTF-8")
    })?;
    // Windows' editors begin a text with this mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(format!(
            "{file}: the file is empty; is it half-written? `[]` stands for no targets"
        ));
    }
    let root = if is_json(file, text) {
        from_json(text)
    } else {
        from_yaml(text)
    };
    root.map_err(|fault| format!("{file}{fault}"))
}

/// By the extension; without a known one, by the first character.
fn is_json(file: &str, text: &str) -> bool {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some(it) if it.eq_ignore_ascii_case("json") => true,
        Some(it) if it.eq_ignore_ascii_case("yaml") || it.eq_ignore_ascii_case("yml") => false,
        _ => in_brackets(text),
    }
}

/// Whether the text ends with the bracket that it begins with, if it is whole.
fn in_brackets(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{'])
}

/// The line and the column after some bytes, counted from 1.
fn place(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let tail = before.rsplit(|&byte| byte == b'\n').next();
    let column = String::from_utf8_lossy(tail.unwrap_or_default())
        .chars()
        .count()
        + 1;
    (line, column)
}

/// An error begins with its place, as it follows the name of the file.
fn from_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(message, _)| message);
        if error.classify() == Category::Eof {
            format!(
                ":{line}:{column}: the file ends in the middle ({message}); is it half-written? Write another file and rename it to this name"
            )
        } else {
            format!(":{line}:{column}: not valid JSON: {message}")
        }
    })
}

fn from_yaml(text: &str) -> Result<Value, String> {
    // Half of a YAML list is a valid list, and half of `10.0.0.1:8080` is the address of somebody
    // else. A last line without its end is the only sign that there is.
    if !in_brackets(text) && !text.ends_with('\n') {
        let (line, column) = place(text.as_bytes());
        return Err(format!(
            ":{line}:{column}: the last line has no end; is the file half-written? End each line of a YAML file with a line break"
        ));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or_else(String::new, |place| {
            format!(":{}:{}", place.line().max(1), place.column().max(1))
        });
        // The library's message without its own place and without its advice to programmers.
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let message = match message.strip_prefix("line ") {
            Some(rest) => rest.split_once(": ").map_or(message, |(_, rest)| rest),
            None => message,
        };
        format!("{place}: not valid YAML: {message}")
    })
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "syntax_tests.rs"]
mod tests;
