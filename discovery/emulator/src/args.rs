//! Reads the members of an ECS request.

use serde_json::Value;

use crate::error::ApiError;
use crate::world::World;

/// The members of a request.
pub(crate) struct Args<'a>(pub &'a Value);

impl<'a> Args<'a> {
    fn mistyped(name: &str, expected: &str) -> ApiError {
        let message = format!("{name} must be {expected}");
        ApiError::new(400, "SerializationException", message)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.get(name)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| Self::mistyped(name, "a string"))
            })
            .transpose()
    }

    /// A string that must be there.
    pub(crate) fn needed(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::invalid(format!("{name} must be given.")))
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|value| {
                value
                    .as_i64()
                    .ok_or_else(|| Self::mistyped(name, "a whole number"))
            })
            .transpose()
    }

    /// True or false; false when it is not there.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        self.get(name).map_or(Ok(false), |value| {
            value
                .as_bool()
                .ok_or_else(|| Self::mistyped(name, "true or false"))
        })
    }

    /// A list of strings; empty when it is not there.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&'a str>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let texts: Option<Vec<&str>> = value
            .as_array()
            .and_then(|entries| entries.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| Self::mistyped(name, "a list of strings"))
    }

    /// A list that ECS wants to have 1 to `most` entries.
    pub(crate) fn batch(&self, name: &str, most: usize) -> Result<Vec<&'a str>, ApiError> {
        let entries = self.texts(name)?;
        match entries.len() {
            0 => Err(ApiError::invalid(format!("{name} cannot be empty."))),
            n if n > most => Err(ApiError::invalid(format!(
                "{name} cannot have more than {most} elements, and has {n}."
            ))),
            _ => Ok(entries),
        }
    }

    /// A string out of a set.
    pub(crate) fn one_of(&self, name: &str, values: &[&str]) -> Result<Option<&'a str>, ApiError> {
        let value = self.text(name)?;
        match value {
            Some(value) if !values.contains(&value) => Err(ApiError::invalid(format!(
                "{name} must be one of {}.",
                values.join(", ")
            ))),
            _ => Ok(value),
        }
    }

    /// The cluster that the request is about: `default` when it does not say.
    pub(crate) fn cluster<'w>(&self, world: &'w World) -> Result<&'w str, ApiError> {
        let name = self.text("cluster")?.unwrap_or("default");
        Ok(world.cluster(name)?)
    }
}
