//! What a rule writes anew on the way to a target (`transform` of `aws_lb_listener_rule`).

use schemars::JsonSchema;
use serde::Deserialize;

/// A transform: its `type`, and the key that belongs to that type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// What is written anew.
    #[serde(rename = "type")]
    pub kind: TransformKind,
    /// For `host_header_rewrite`.
    #[serde(default)]
    pub host_header_rewrite_config: Option<RewriteConfig>,
    /// For `url_rewrite`.
    #[serde(default)]
    pub url_rewrite_config: Option<RewriteConfig>,
}

/// What a transform writes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransformKind {
    /// The Host.
    HostHeaderRewrite,
    /// The path and the query.
    UrlRewrite,
}

/// Holds one rewrite, as Terraform nests it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewriteConfig {
    /// What is looked for and what stands there afterwards.
    pub rewrite: Rewrite,
}

/// A regular expression, and what takes the place of its first match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Looked for anywhere in the text, unless it has `^` or `$` (1 to 1024 bytes).
    pub regex: String,
    /// `$1`, `$2` … stand for what the groups of the expression matched, `$$` for `$` (at most
    /// 1024 bytes).
    pub replace: String,
}

/// A part of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Stands there as it is.
    Text(String),
    /// What a group of the expression matched; 0 is the whole match.
    Group(usize),
}

impl Rewrite {
    /// The replacement in its parts.
    ///
    /// # Errors
    /// The byte at which a `$` stands that means nothing.
    pub fn pieces(&self) -> Result<Vec<Piece>, usize> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = self.replace.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            if let Some(after) = after.strip_prefix('$') {
                text.push('$');
                rest = after;
            } else if let Ok(group) = after[..digits].parse() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Group(group));
                rest = &after[digits..];
            } else {
                return Err(self.replace.len() - after.len() - 1);
            }
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(pieces)
    }

    /// The highest group that the replacement names.
    ///
    /// # Errors
    /// As [`Self::pieces`].
    pub fn highest_group(&self) -> Result<usize, usize> {
        let pieces = self.pieces()?;
        let groups = pieces.iter().map(|piece| match piece {
            Piece::Text(_) => 0,
            Piece::Group(group) => *group,
        });
        Ok(groups.max().unwrap_or(0))
    }
}
