//! Header fields that the configuration sets, adds or removes. Pure.

use super::headers::push_field;
use crate::http1::field::{is, is_alike};

/// What is done to the fields of a request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// In place of all fields of that name.
    pub set: Vec<(String, String)>,
    /// Behind what is there.
    pub add: Vec<(String, String)>,
    /// Left out.
    pub remove: Vec<String>,
}

impl Edits {
    /// Whether nothing is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// A field of that name does not go on. Nor one that an application may take for it: many read
    /// `X_User` as `X-User`.
    #[must_use]
    pub fn drops(&self, name: &str) -> bool {
        self.set.iter().any(|(set, _)| is_alike(set, name))
            || self.remove.iter().any(|removed| is_alike(removed, name))
    }

    /// Writes what is set and added.
    pub fn push(&self, out: &mut Vec<u8>) {
        for (name, value) in self.set.iter().chain(&self.add) {
            push_field(out, name, value.as_bytes());
        }
    }

    /// These after others: what these set or remove counts, whatever the others do with it.
    #[must_use]
    pub fn after(mut self, others: &Self) -> Self {
        let kept = |list: &[(String, String)]| -> Vec<_> {
            list.iter()
                .filter(|(name, _)| !self.drops(name))
                .cloned()
                .collect()
        };
        let (mut set, mut add) = (kept(&others.set), kept(&others.add));
        let removed = others.remove.iter();
        let remove: Vec<_> = removed
            .filter(|name| !self.set.iter().any(|(set, _)| is(set, name)))
            .cloned()
            .collect();
        set.append(&mut self.set);
        add.append(&mut self.add);
        self.remove.extend(remove);
        Self {
            set,
            add,
            remove: self.remove,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Edits;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    #[test]
    fn what_is_set_or_removed_drops_what_was_there() {
        let edits = Edits {
            set: pairs(&[("X-Set", "1")]),
            add: pairs(&[("X-Add", "2")]),
            remove: vec!["X-Gone".to_owned()],
        };
        assert!(
            edits.drops("x-set")
                && edits.drops("X-GONE")
                && edits.drops("X_Gone")
                && !edits.drops("x-add")
        );
        let mut out = Vec::new();
        edits.push(&mut out);
        assert_eq!(out, b"X-Set: 1\r\nX-Add: 2\r\n");
    }

    #[test]
    fn later_edits_count_over_earlier_ones() {
        let listener = Edits {
            set: pairs(&[("A", "listener"), ("B", "listener")]),
            add: pairs(&[("C", "listener")]),
            remove: vec!["D".to_owned(), "E".to_owned()],
        };
        let rule = Edits {
            set: pairs(&[("a", "rule"), ("D", "rule")]),
            add: pairs(&[("C", "rule")]),
            remove: vec!["b".to_owned()],
        };
        let both = rule.after(&listener);
        assert_eq!(both.set, pairs(&[("a", "rule"), ("D", "rule")]));
        assert_eq!(both.add, pairs(&[("C", "listener"), ("C", "rule")]));
        assert_eq!(both.remove, ["b", "E"]);
    }
}
