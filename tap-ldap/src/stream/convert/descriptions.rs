//! Which attribute description belongs into which column, for descriptions as the server spells them.
//!
//! A server gives the attributes of entries of a kind in the same order, spelt the same way. So descriptions are kept in
//! the order they come in, and the next one is nearly always the one after the last.

use std::collections::HashMap;

/// So many spellings are remembered. A server that makes them up costs time, not memory.
const REMEMBERED: usize = 4_096;
/// So many of them are compared one by one; others are looked up.
const IN_ORDER: usize = 256;

/// Where the values of an attribute go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// Into this column.
    Column(usize),
    /// Nobody selected them.
    Nowhere,
}

/// The spellings met, with their destinations.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    /// Descriptions of columns in their normal form, which is in lower case.
    columns: HashMap<String, usize>,
    in_order: Vec<(Box<[u8]>, Destination)>,
    others: HashMap<Box<[u8]>, Destination>,
    /// Where in the order the entry in hand is.
    at: usize,
}

impl Descriptions {
    /// Of columns with these descriptions in normal form. The last one counts where two are the same.
    pub(super) fn of(names: impl Iterator<Item = String>) -> Self {
        let columns = names.enumerate().map(|(n, name)| (name, n)).collect();
        Self { columns, ..Self::default() }
    }

    /// The column of a description in normal form.
    pub(super) fn column(&self, normal: &str) -> Destination {
        let column = self.columns.get(normal);
        column.map_or(Destination::Nowhere, |column| Destination::Column(*column))
    }

    /// Another entry begins.
    pub(super) fn begin(&mut self) {
        self.at = 0;
    }

    /// The destination of the entry's next description; `None` where it was not met before.
    pub(super) fn next(&mut self, description: &[u8]) -> Option<Destination> {
        if let Some((expected, destination)) = self.in_order.get(self.at)
            && **expected == *description
        {
            self.at += 1;
            return Some(*destination);
        }
        let is_it = |(expected, _): &(Box<[u8]>, Destination)| **expected == *description;
        if let Some(at) = self.in_order.iter().position(is_it) {
            self.at = at + 1;
            return self.in_order.get(at).map(|(_, destination)| *destination);
        }
        self.others.get(description).copied()
    }

    /// Takes note of a description that was not met before.
    pub(super) fn learn(&mut self, description: &[u8], destination: Destination) {
        if self.in_order.len() < IN_ORDER {
            let at = self.at.min(self.in_order.len());
            self.in_order.insert(at, (description.into(), destination));
            self.at = at + 1;
        } else if self.others.len() < REMEMBERED {
            self.others.insert(description.into(), destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_finds_the_same_columns() {
        let mut descriptions = Descriptions::of(["cn", "sn", "mail"].into_iter().map(str::to_owned));
        let mut met = 0;
        for entry in [&["cn", "mail", "x"][..], &["mail", "cn"], &["sn", "x", "mail"], &["x", "y", "sn"]] {
            descriptions.begin();
            for name in entry {
                let column = descriptions.next(name.as_bytes()).unwrap_or_else(|| {
                    met += 1;
                    let column = descriptions.column(name);
                    descriptions.learn(name.as_bytes(), column);
                    column
                });
                let expected = ["cn", "sn", "mail"].iter().position(|c| c == name);
                assert_eq!(column, expected.map_or(Destination::Nowhere, Destination::Column), "{name}");
            }
        }
        assert_eq!(met, 5, "each once");
    }

    #[test]
    fn a_server_that_makes_names_up_costs_no_memory() {
        let mut descriptions = Descriptions::of(std::iter::empty());
        for n in 0..REMEMBERED * 2 {
            let name = n.to_string();
            assert_eq!(descriptions.next(name.as_bytes()), None);
            descriptions.learn(name.as_bytes(), Destination::Nowhere);
        }
        assert_eq!((descriptions.in_order.len(), descriptions.others.len()), (IN_ORDER, REMEMBERED));
        assert_eq!(descriptions.next(b"0"), Some(Destination::Nowhere));
        assert_eq!(descriptions.next(b"8191"), None);
    }
}
