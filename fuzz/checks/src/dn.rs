//! Distinguished names (RFC 4514).

use ldap_directory::dn::{self, Ava, Dn, DnKey, Rdn, SuffixRewrite};
use ldap_directory::schema::Schema;

/// A name survives its text; names that are equal have equal keys; keys know the tree; and the input as a value stays inside
/// the relative name it is put into.
pub fn dn(data: &[u8]) {
    value_stays_in_its_place(data);
    let Some(text) = super::text(data) else { return };
    let (parsed, split) = (Dn::parse(text), dn::split(text));
    assert_eq!(parsed.is_ok(), split.is_ok());
    let (Ok(name), Ok(parts)) = (parsed, split) else { return };
    assert_eq!(parts.len(), name.depth());
    let printed = name.to_string();
    assert_eq!(Dn::parse(&printed).as_ref(), Ok(&name), "{printed}");
    // Every octet of a value is written as three at most.
    assert!(printed.len() <= 4 * text.len() + 4);

    let schema = Schema::standard();
    let key = name.key(schema);
    assert_eq!(DnKey::parse(&printed, schema).as_ref(), Ok(&key));
    assert_eq!(key.depth(), name.depth());
    assert_eq!(key.parent(), name.parent().map(|above| above.key(schema)));
    if let Some(above) = key.parent() {
        assert!(above.is_ancestor_of(&key) && key.is_within(&above) && !key.is_ancestor_of(&above));
        assert!(above < key && above.subtree_end().is_none_or(|end| key < end));
    }
    let upper = Dn { rdns: name.rdns.iter().map(with_upper_case_types).collect() };
    assert_eq!(upper.key(schema), key);
    let turned = Dn { rdns: name.rdns.iter().map(turned_round).collect() };
    assert_eq!(turned.key(schema), key);

    // Moved somewhere else and back it is the same name.
    let base = Dn { rdns: name.rdns.iter().skip(1).cloned().collect() }.to_string();
    let there = SuffixRewrite::new(&base, "o=elsewhere").expect("printed names are names");
    let back = SuffixRewrite::new("o=elsewhere", &base).expect("printed names are names");
    let moved = there.apply(text, schema).expect("it lies below its parent");
    let returned = back.apply(&moved, schema).expect("it was moved there");
    assert_eq!(DnKey::parse(&returned, schema), Ok(key), "{moved} {returned}");
}

fn value_stays_in_its_place(value: &[u8]) {
    let text = format!("cn={}+sn=b,dc=x", dn::escape_value(value));
    let name = Dn::parse(&text).expect("escaped values make names");
    let first = Rdn {
        avas: vec![
            Ava { attribute: "cn".into(), value: value.to_vec() },
            Ava { attribute: "sn".into(), value: b"b".to_vec() },
        ],
    };
    assert_eq!(name.rdns, [first, Rdn::single("dc", b"x".to_vec())]);
}

fn with_upper_case_types(rdn: &Rdn) -> Rdn {
    let upper = |ava: &Ava| Ava { attribute: ava.attribute.to_ascii_uppercase(), value: ava.value.clone() };
    Rdn { avas: rdn.avas.iter().map(upper).collect() }
}

fn turned_round(rdn: &Rdn) -> Rdn {
    Rdn { avas: rdn.avas.iter().rev().cloned().collect() }
}
