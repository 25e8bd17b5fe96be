//! The list of unusual DNs for the dbt package's macros: its columns contain the results of this parser.

// The lints let tests unwrap, and a test's helpers are part of it.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use ldap_directory::dn::{Dn, DnKey, escape_value, split};
use ldap_directory::schema::Schema;

/// A DN and its row.
struct Row {
    text: String,
    dn: Option<(Dn, DnKey)>,
}

#[test]
fn dbt_list_of_hard_dns_matches_the_parser() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dbt/integration_tests/seeds/hard_dns.csv");
    let there = std::fs::read_to_string(&path).unwrap();
    let table = table(&names(&there));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, table).unwrap();
        return;
    }
    for (at, (is, was)) in table.lines().zip(there.lines()).enumerate() {
        assert_eq!(is, was, "line {} of {}; UPDATE_GOLDEN=1 writes it anew", at + 1, path.display());
    }
    assert_eq!(table.lines().count(), there.lines().count());
    assert!(there.lines().count() > 70, "the list has shrunk");
}

/// Returns the second column of each row: a text in brackets and quotes, with `""` for a quote.
fn names(csv: &str) -> Vec<Row> {
    csv.lines()
        .skip(1)
        .map(|line| {
            let field = line.split_once(",\"[").unwrap().1.split_once("]\"").unwrap().0;
            let text = field.replace("\"\"", "\"");
            let dn = Dn::parse(&text).ok().map(|dn| {
                let key = dn.key(Schema::standard());
                (dn, key)
            });
            Row { text, dn }
        })
        .collect()
}

/// Returns the table. Texts are in brackets, so that an empty one differs from a missing one.
fn table(rows: &[Row]) -> String {
    let mut out = "id,dn,depth,cn,ou,dc,parent,same_as,below\n".to_owned();
    for (id, row) in rows.iter().enumerate() {
        write!(out, "{id},{}", quoted(Some(&row.text))).unwrap();
        let Some((dn, key)) = &row.dn else {
            out.push_str(",,,,,,,\n");
            continue;
        };
        let keys = || rows.iter().enumerate().filter_map(|(i, r)| Some((i, &r.dn.as_ref()?.1)));
        let same = keys().find(|(_, k)| *k == key).unwrap().0;
        let below: Vec<String> =
            keys().filter(|(_, k)| k.is_ancestor_of(key)).map(|(i, _)| i.to_string()).collect();
        let domain = values(dn, "dc").join(".");
        let parent = split(&row.text).unwrap().split_first().map(|(_, above)| above.join(","));
        writeln!(
            out,
            ",{},{},{},{},{},{same},{}",
            dn.depth(),
            quoted(values(dn, "cn").first().map(String::as_str)),
            quoted(values(dn, "ou").first().map(String::as_str)),
            quoted(Some(&*domain).filter(|d| !d.is_empty())),
            quoted(parent.as_deref()),
            quoted(Some(&*below.join(" "))),
        )
        .unwrap();
    }
    out
}

/// Returns the values of an attribute type in a DN, most specific first. Octets that are not text stay escaped.
fn values(dn: &Dn, attribute: &str) -> Vec<String> {
    let schema = Schema::standard();
    let wanted = &schema.attribute_type(attribute).unwrap().oid;
    let of_type = |name: &str| schema.attribute_type(name).is_some_and(|a| a.oid == *wanted);
    let text = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => escape_value(value),
    };
    dn.rdns.iter().flat_map(|r| &r.avas).filter(|a| of_type(&a.attribute)).map(|a| text(&a.value)).collect()
}

/// Returns a field of the table.
fn quoted(text: Option<&str>) -> String {
    text.map_or_else(String::new, |t| format!("\"[{}]\"", t.replace('"', "\"\"")))
}
