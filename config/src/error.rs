//! What a reader of a bad file sees: every error, each with its place and its mend.

use std::fmt;

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl Default for Position {
    fn default() -> Self {
        Self::START
    }
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub position: Position,
    /// The path of the key, such as `listeners[0].rules[2].priority`; empty for the whole file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every error of one file, in the order of their places. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The name of the file, as the user gave it.
    pub file: String,
    /// The errors.
    pub errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn one(file: &str, position: Position, message: String) -> Self {
        Self {
            file: file.to_owned(),
            errors: vec![ConfigError {
                position,
                key: String::new(),
                message,
            }],
        }
    }
}

impl fmt::Display for ConfigErrors {
    /// One line for each error: `file:line:column: key: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Position { line, column } = error.position;
            write!(f, "{}:{line}:{column}: ", self.file)?;
            if !error.key.is_empty() {
                write!(f, "{}: ", error.key)?;
            }
            f.write_str(&error.message)?;
        }
        Ok(())
    }
}
