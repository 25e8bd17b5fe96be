use std::cell::Cell;

use super::*;

thread_local! {
    /// How often what follows from a type was forgotten.
    pub(super) static FORGOTTEN: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn many_types_are_read_in_time_that_grows_with_them() {
    const TYPES: usize = 40_000;
    // Each is derived from the one behind it.
    let definitions: Vec<String> = (0..TYPES)
        .map(|n| match n % 5 {
            4 => format!("( 1.1.{n} NAME 'a{n}' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 )"),
            _ => format!("( 1.1.{n} NAME 'a{n}' SUP a{} )", n + 1),
        })
        .collect();
    FORGOTTEN.with(|count| count.set(0));
    let (schema, errors) = Schema::parse(definitions.iter().map(String::as_str), []);
    assert!(errors.is_empty());
    assert_eq!(FORGOTTEN.with(Cell::get), TYPES);
    assert_eq!(schema.syntax("a0"), Some("1.3.6.1.4.1.1466.115.121.1.27"));
}

#[test]
fn a_bad_definition_does_not_spoil_the_rest() {
    let (schema, errors) = Schema::parse(["( 1.1 NAME 'a' )", "oops"], ["( 1.2 NAME 'b' )", "("]);
    assert_eq!(errors.len(), 2);
    assert!(schema.attribute_type("A").is_some() && schema.object_class("1.2").is_some());
    assert!(!schema.is_empty() && Schema::default().is_empty());
}

#[test]
fn circles_end() {
    let (schema, _) = Schema::parse(
        ["( 1.1 NAME 'a' SUP b )", "( 1.2 NAME 'b' SUP a )"],
        ["( 2.1 NAME 'x' SUP y MUST a )", "( 2.2 NAME 'y' SUP x MAY b )"],
    );
    assert_eq!(schema.syntax("a"), None);
    assert_eq!(schema.equality("a"), Equality::OctetString);
    assert_eq!(schema.class_closure(["x"]).len(), 2);
    assert!(schema.is_subtype("a", "b") && schema.is_subtype("b", "a"));
}

#[test]
fn content_rules_add_what_entries_may_hold() {
    let (mut s, _) = Schema::parse(
        ["( 1.1 NAME 'a' )", "( 1.2 NAME 'b' )", "( 1.3 NAME 'c' )", "( 1.4 NAME 'd' )", "( 1.5 NAME 'e' )"],
        ["( 2.1 NAME 'x' STRUCTURAL MUST a MAY d )", "( 2.2 NAME 'y' AUXILIARY MUST b )"],
    );
    assert!(s.add_content_rules(["( 2.1 NAME 'x' AUX ( y ) MUST ( c ) MAY ( e ) NOT ( d ) )"]).is_empty());
    assert_eq!(s.must_may(["X"]), (vec!["a", "c"], vec!["e", "b"]));
    assert_eq!(s.must_may(["x", "y"]), (vec!["a", "b", "c"], vec!["e"]));
}

#[test]
fn attributes_by_any_name() {
    let s = Schema::standard();
    for name in ["cn", "CN", "commonName", "2.5.4.3", "cn;lang-de"] {
        assert_eq!(s.canonical_name(name), "cn", "{name}");
    }
    assert_eq!(s.canonical_name("noSuch;x"), "noSuch");
    assert_eq!(s.syntax("cn"), Some("1.3.6.1.4.1.1466.115.121.1.15"), "inherited from name");
    assert_eq!(s.equality("givenName"), Equality::CaseIgnore);
    assert_eq!(s.equality("member"), Equality::DistinguishedName);
    assert_eq!(s.equality("noSuch"), Equality::OctetString);
    assert!(s.has_equality("cn") && !s.has_equality("jpegPhoto") && s.has_equality("noSuch"));
    assert!(s.is_subtype("cn;lang-de", "name") && !s.is_subtype("name", "cn"));
}

#[test]
fn active_directory_names_no_rules() {
    let (ad, errors) =
        Schema::parse(["( 2.5.4.31 NAME 'member' SYNTAX '1.3.6.1.4.1.1466.115.121.1.12' )"], []);
    assert!(errors.is_empty() && ad.has_equality("member"));
    assert_eq!(ad.equality("member"), Equality::DistinguishedName);
}

#[test]
fn classes_inherit() {
    let s = Schema::standard();
    let names: Vec<_> = s.class_closure(["inetOrgPerson", "person"]).iter().map(|c| c.name()).collect();
    assert_eq!(names, ["top", "person", "organizationalPerson", "inetOrgPerson"]);
    let (must, may) = s.must_may(["posixAccount", "INETORGPERSON", "noSuch"]);
    assert_eq!(must, ["objectClass", "cn", "uid", "uidNumber", "gidNumber", "homeDirectory", "sn"]);
    assert!(may.contains(&"mail") && may.contains(&"userPassword") && !may.contains(&"uid"));
    let unique: HashSet<_> = may.iter().collect();
    assert_eq!(unique.len(), may.len());
}

#[test]
fn the_built_in_schema_is_whole() {
    let (s, errors) = standard_with_errors();
    assert_eq!(errors, []);
    assert!(s.types.len() > 200 && s.classes.len() > 50, "{} {}", s.types.len(), s.classes.len());
    let mut oids = HashSet::new();
    for a in &s.types {
        assert!(oids.insert(&a.oid), "{} is there twice", a.oid);
        assert!(a.superior.iter().all(|sup| s.attribute_type(sup).is_some()), "SUP of {}", a.name());
        assert!(s.syntax(a.name()).is_some(), "no syntax: {}", a.name());
        let rules = [&a.equality, &a.ordering];
        for rule in rules.into_iter().flatten() {
            assert!(Equality::from_rule(rule).is_some(), "{rule} of {}", a.name());
        }
    }
    for c in &s.classes {
        assert!(oids.insert(&c.oid), "{} is there twice", c.oid);
        assert!(c.superiors.iter().all(|sup| s.object_class(sup).is_some()), "SUP of {}", c.name());
        for name in c.must.iter().chain(&c.may) {
            assert!(s.attribute_type(name).is_some(), "{name} of {}", c.name());
        }
    }
    assert_eq!(
        s.type_index.keys().map(|name| name.to_ascii_lowercase()).collect::<HashSet<_>>().len(),
        s.types.iter().map(|a| a.names.len() + 1).sum::<usize>(),
        "names clash"
    );
}
