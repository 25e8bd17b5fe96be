//! Search filters (RFC 4515).

use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::{self, Filter};
use ldap_directory::schema::Schema;

/// A filter survives its text, its negation says the opposite of every entry, and the input as a value stays inside of its
/// assertion.
pub fn filter(data: &[u8]) {
    let text = format!("(&(cn={})(sn=b))", filter::escape_value(data));
    let expected = Filter::And(vec![Filter::equality("cn", data), Filter::equality("sn", b"b".to_vec())]);
    assert_eq!(Filter::parse(&text), Ok(expected));

    let Some(text) = super::text(data) else { return };
    let Ok(filter) = Filter::parse(text) else { return };
    let printed = filter.to_string();
    assert_eq!(Filter::parse(&printed).as_ref(), Ok(&filter), "{printed}");

    let schema = Schema::standard();
    for entry in [about(&filter), Entry::default()] {
        let says = filter.matches(&entry, schema);
        let negated = Filter::Not(Box::new(filter.clone())).matches(&entry, schema);
        assert_eq!(negated, says.map(|b| !b));
        let both = Filter::And(vec![filter.clone(), filter.clone()]);
        assert_eq!(both.matches(&entry, schema), says);
    }
}

/// An entry that has what the filter asks for, so that its matching rules have something to look at.
fn about(filter: &Filter) -> Entry {
    let mut entry = Entry { dn: "cn=a+uid=1,dc=x".into(), attributes: Vec::new() };
    add(filter, &mut entry);
    entry
}

fn add(filter: &Filter, entry: &mut Entry) {
    let mut has = |attribute: &str, value: Vec<u8>| match entry
        .attributes
        .iter_mut()
        .find(|a| a.description == attribute)
    {
        Some(there) => there.values.push(value),
        None => entry.attributes.push(Attribute::new(attribute, vec![value])),
    };
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().for_each(|f| add(f, entry)),
        Filter::Not(inner) => add(inner, entry),
        Filter::Present(attribute) => has(attribute, b"1".to_vec()),
        Filter::Equality { attribute, value }
        | Filter::GreaterOrEqual { attribute, value }
        | Filter::LessOrEqual { attribute, value }
        | Filter::Approx { attribute, value } => has(attribute, value.clone()),
        Filter::Extensible { attribute, value, .. } => {
            has(attribute.as_deref().unwrap_or("description"), value.clone());
        }
        Filter::Substring { attribute, initial, any, last } => {
            let parts = initial.iter().chain(any).chain(last);
            has(attribute, parts.flatten().copied().collect());
        }
    }
}
