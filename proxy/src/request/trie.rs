//! A radix trie over bytes: what is filed under a key, or under each key that begins so. Pure.

/// Values by keys. A look-up costs as much as its key is long, however many values there are.
#[derive(Debug)]
pub(super) struct Trie<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    /// For keys that begin with what leads here.
    beginning: Option<T>,
    /// For the key that ends here.
    whole: Option<T>,
    /// Ordered by the first byte of their labels, which differ.
    children: Vec<(Box<[u8]>, Node<T>)>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            beginning: None,
            whole: None,
            children: Vec::new(),
        }
    }
}

/// Where something is filed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Only under this key; otherwise also under all that begin with it.
    pub(super) whole: bool,
}

impl Key {
    /// Under every key.
    pub(super) const ANY: Self = Self {
        bytes: Vec::new(),
        whole: false,
    };
}

impl<T: Default> Trie<T> {
    /// What is filed under a key; made if there is nothing yet.
    pub(super) fn entry(&mut self, key: &Key) -> &mut T {
        let mut node = &mut self.root;
        let mut rest = key.bytes.as_slice();
        while let Some(&first) = rest.first() {
            let place = node
                .children
                .binary_search_by_key(&first, |(label, _)| label[0]);
            let index = match place {
                Ok(index) => {
                    let shared = shared(&node.children[index].0, rest);
                    if shared < node.children[index].0.len() {
                        split(&mut node.children[index], shared);
                    }
                    index
                }
                Err(index) => {
                    node.children.insert(index, (rest.into(), Node::default()));
                    index
                }
            };
            let (label, child) = &mut node.children[index];
            rest = &rest[label.len()..];
            node = child;
        }
        let slot = if key.whole {
            &mut node.whole
        } else {
            &mut node.beginning
        };
        slot.get_or_insert_default()
    }
}

impl<T> Trie<T> {
    /// Shows all that is filed under a key or under what it begins with.
    pub(super) fn find(&self, key: impl IntoIterator<Item = u8>, mut show: impl FnMut(&T)) {
        let mut node = &self.root;
        let mut key = key.into_iter();
        loop {
            if let Some(value) = &node.beginning {
                show(value);
            }
            let Some(first) = key.next() else {
                if let Some(value) = &node.whole {
                    show(value);
                }
                return;
            };
            let place = node
                .children
                .binary_search_by_key(&first, |(label, _)| label[0]);
            let Ok(index) = place else {
                return;
            };
            let (label, child) = &node.children[index];
            if !label[1..].iter().all(|byte| key.next() == Some(*byte)) {
                return;
            }
            node = child;
        }
    }
}

/// How many bytes two texts begin with in common.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Puts a node in the middle of a label.
fn split<T>(child: &mut (Box<[u8]>, Node<T>), at: usize) {
    let tail: Box<[u8]> = child.0[at..].into();
    child.0 = child.0[..at].into();
    let below = std::mem::take(&mut child.1);
    child.1.children.push((tail, below));
}

#[cfg(test)]
mod tests {
    use super::{Key, Trie};

    fn filed(keys: &[(&str, bool)]) -> Trie<Vec<usize>> {
        let mut trie: Trie<Vec<usize>> = Trie::default();
        for (number, (bytes, whole)) in keys.iter().enumerate() {
            let key = Key {
                bytes: bytes.as_bytes().to_vec(),
                whole: *whole,
            };
            trie.entry(&key).push(number);
        }
        trie
    }

    #[test]
    fn a_key_finds_what_is_filed_under_it_and_under_its_beginnings() {
        let keys = [
            ("", false),
            ("/a", false),
            ("/a", true),
            ("/ab", true),
            ("/abc", false),
            ("/b", false),
            ("", true),
            ("/ab", false),
        ];
        let trie = filed(&keys);
        for text in ["", "/", "/a", "/ab", "/abc", "/abcd", "/b/c", "x", "/ac"] {
            let mut found = Vec::new();
            trie.find(text.bytes(), |numbers| found.extend_from_slice(numbers));
            found.sort_unstable();
            let expected: Vec<usize> = keys
                .iter()
                .enumerate()
                .filter(|(_, (key, whole))| {
                    if *whole {
                        text == *key
                    } else {
                        text.starts_with(key)
                    }
                })
                .map(|(number, _)| number)
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
