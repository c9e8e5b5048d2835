//! The tree as serde asks for it.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Failure, show};
use crate::node::{Node, Step, Value};
use crate::written::is_secret;

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    pub(super) node: &'a Node,
    /// The last key above it.
    key: &'a str,
    /// It is nobody's business, so messages, which end in logs, do not show it.
    secret: bool,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn new(root: &'a Node) -> Self {
        Self {
            node: root,
            key: "",
            secret: false,
        }
    }

    fn unexpected(self) -> Unexpected<'a> {
        match &self.node.value {
            Value::Bool(_) if self.secret => Unexpected::Other("a truth value"),
            Value::Integer { .. } | Value::Float { .. } if self.secret => {
                Unexpected::Other("a number")
            }
            Value::Text { .. } if self.secret => Unexpected::Other("a text"),
            Value::Null | Value::Skipped | Value::StandIn(_) => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Integer { number, .. } => match (u64::try_from(*number), i64::try_from(*number))
            {
                (Ok(value), _) => Unexpected::Unsigned(value),
                (_, Ok(value)) => Unexpected::Signed(value),
                _ => Unexpected::Other("a number beyond 64 bits"),
            },
            Value::Float { number, .. } => Unexpected::Float(*number),
            Value::Text { text, .. } => Unexpected::Str(text),
            Value::Sequence(_) => Unexpected::Seq,
            Value::Mapping(_) => Unexpected::Map,
        }
    }

    /// The value as messages show it.
    pub(super) fn found(self) -> String {
        match &self.node.value {
            Value::Integer { text, .. } | Value::Float { text, .. } if !self.secret => {
                text.text().to_owned()
            }
            _ => show(self.unexpected()),
        }
    }

    fn items(self, items: &'a [Node]) -> Items<'a> {
        Items {
            list: self,
            items,
            next: 0,
        }
    }

    /// A text that came from an environment variable may stand for a number or a truth value.
    fn expanded(self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text {
                text,
                expanded: true,
            } => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Null | Value::Skipped => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer { number, .. } => match (u64::try_from(*number), i64::try_from(*number))
            {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(Failure::invalid_type(self.unexpected(), &visitor)),
            },
            Value::Float { number, .. } => visitor.visit_f64(*number),
            Value::Text { text, .. } => visitor.visit_str(text),
            Value::StandIn(stand_in) => match stand_in.number() {
                Some(number) => visitor.visit_u64(number),
                None => Err(Failure::invalid_type(self.unexpected(), &visitor)),
            },
            Value::Sequence(items) => visitor.visit_seq(self.items(items)),
            Value::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.expanded().and_then(|text| text.trim().parse().ok()) {
            Some(number) => visitor.visit_u64(number),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.expanded() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => match &self.node.value {
                Value::StandIn(stand_in) if stand_in.number().is_some() => {
                    visitor.visit_bool(false)
                }
                _ => self.deserialize_any(visitor),
            },
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            // `matcher: 200` means the text 200; other plain values, such as 0x1F, could be meant as
            // they are written or as what YAML makes of them.
            Value::Integer { number, text } if text.text() == number.to_string() => {
                visitor.visit_str(text.text())
            }
            Value::Bool(_) | Value::Integer { .. } | Value::Float { .. } => {
                let found = self.found();
                let message = format!("expected a text, found {found}; put it in quotes");
                Err(Failure::new(message))
            }
            Value::StandIn(stand_in) => visitor.visit_str(stand_in.text()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null | Value::Skipped => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Mapping(entries) => visitor.visit_map(Entries {
                mapping: self,
                entries: entries.iter(),
                current: None,
            }),
            _ => Err(Failure::new(format!(
                "expected keys and values, found {}",
                show(self.unexpected())
            ))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Sequence(items) => visitor.visit_seq(self.items(items)),
            Value::StandIn(_) => visitor.visit_seq(self.items(&[])),
            _ => Err(Failure::new(format!(
                "expected a list, found {}",
                show(self.unexpected())
            ))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text { text, .. } => visitor.visit_enum(Variant(text)),
            // The first time it is refused, so that whoever mends it hears that it is a choice.
            Value::StandIn(stand_in) if stand_in.number().is_some() => {
                visitor.visit_enum(Variant(variants.first().copied().unwrap_or_default()))
            }
            _ => Err(Failure {
                chooses: true,
                ..Failure::new(format!(
                    "expected one of `{}`, found {}",
                    variants.join("`, `"),
                    self.found()
                ))
            }),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct identifier ignored_any
    }
}

struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: StrDeserializer<'_, Failure> = self.0.into_deserializer();
        seed.deserialize(name).map(|value| (value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Failure> {
        Err(Failure::new("expected a single word".to_owned()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(Failure::new("expected a single word".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Failure> {
        Err(Failure::new("expected a single word".to_owned()))
    }
}

struct Items<'a> {
    list: NodeDeserializer<'a>,
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        while let Some(node) = self.items.get(self.next) {
            let index = self.next;
            self.next += 1;
            if matches!(node.value, Value::Skipped) {
                continue;
            }
            let item = NodeDeserializer { node, ..self.list };
            return seed
                .deserialize(item)
                .map(Some)
                .map_err(|failure| failure.around(Step::Index(index), item));
        }
        Ok(None)
    }
}

struct Entries<'a> {
    mapping: NodeDeserializer<'a>,
    entries: std::slice::Iter<'a, crate::node::Entry>,
    current: Option<&'a crate::node::Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.current = Some(entry);
        let key: StrDeserializer<'_, Failure> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|failure| failure.within(Step::Key(entry.key.clone()), entry.position))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let entry = self
            .current
            .take()
            .ok_or_else(|| Failure::new("a value was asked for before its key".to_owned()))?;
        let value = NodeDeserializer {
            node: &entry.node,
            key: &entry.key,
            secret: self.mapping.secret || is_secret(&[self.mapping.key, &entry.key]),
        };
        seed.deserialize(value)
            .map_err(|failure| failure.around(Step::Key(entry.key.clone()), value))
    }
}
