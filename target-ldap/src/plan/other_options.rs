//! What a mirrored entry has of an attribute under options (`mail;lang-en`) of which its record says nothing.
//!
//! A stream has a property for such a description only while an entry of the source has it. Once the last value is gone, no record says so.

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::schema::Schema;

use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::policy::{Compare, Policy};

/// Options that do not make another attribute of a type: of the transfer (RFC 4522), and of values that a server lends to the entry
/// (RFC 3671).
const OF_SERVER: [&str; 2] = ["binary", "collective"];

/// Returns, without values, the descriptions that an entry has of wanted attributes under other options, if neither the record has them
/// nor another record of the stream may (`known`).
pub fn other_options(
    wanted: &WantedEntry,
    current: &Entry,
    known: &[String],
    schema: &Schema,
) -> Vec<Wanted> {
    let is_wanted = |base: &str| {
        wanted.attributes.iter().any(|a| {
            let is_plain =
                a.description.split(';').skip(1).all(|option| option.eq_ignore_ascii_case("binary"));
            a.policy == Policy::Force && is_plain && schema.same_description(base_type(&a.description), base)
        })
    };
    let said = || wanted.attributes.iter().map(|a| &a.description).chain(known);
    let is_other = |description: &str| {
        let mut options = description.split(';').skip(1).peekable();
        options.peek().is_some()
            && options.all(|o| !o.contains('=') && !OF_SERVER.iter().any(|s| o.eq_ignore_ascii_case(s)))
            && is_wanted(base_type(description))
            && !said().any(|there| schema.same_description(there, description))
    };
    let surplus = current.attributes.iter().filter(|a| !a.values.is_empty() && is_other(&a.description));
    let without = |description: &String| Wanted {
        description: description.clone(),
        values: Vec::new(),
        policy: Policy::Force,
        compare: Compare::Schema,
    };
    surplus.map(|a| without(&a.description)).collect()
}
