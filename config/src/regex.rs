//! Regular expressions of conditions and transforms.

use crate::limits;

/// Compiles a regular expression as conditions and transforms have them: of bytes, without Unicode
/// classes, look-around and backreferences (ALB's set), in time linear in the text. `fold`: without
/// regard to ASCII case.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn regex(text: &str, fold: bool) -> Result<regex::bytes::Regex, String> {
    regex::bytes::RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(fold)
        .nest_limit(limits::REGEX_NESTING)
        .size_limit(limits::REGEX_COMPILED_BYTES)
        .dfa_size_limit(limits::REGEX_COMPILED_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
            error => {
                let text = error.to_string();
                let line = text.lines().last().unwrap_or_default();
                line.strip_prefix("error: ").unwrap_or(line).to_owned()
            }
        })
}
