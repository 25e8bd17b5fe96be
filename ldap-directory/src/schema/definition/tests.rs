use proptest::prelude::*;

use super::*;

#[test]
fn an_attribute_type_in_full() {
    let a = AttributeType::parse(
        r"( 1.2.3 NAME ( 'a' 'b' ) DESC 'it\27s a \5C' OBSOLETE SUP name EQUALITY caseIgnoreMatch
           ORDERING o SUBSTR s SYNTAX 1.3.6.1{64} SINGLE-VALUE COLLECTIVE NO-USER-MODIFICATION
           USAGE directoryOperation X-ORIGIN ( 'RFC 1' 'user (x' ) )",
    )
    .unwrap();
    assert_eq!(a.oid, "1.2.3");
    assert_eq!(a.names, ["a", "b"]);
    assert_eq!(a.description.as_deref(), Some(r"it's a \"));
    assert_eq!(a.superior.as_deref(), Some("name"));
    assert_eq!(a.syntax.as_deref(), Some("1.3.6.1"));
    assert_eq!(a.substring.as_deref(), Some("s"));
    assert!(a.obsolete && a.single_value && a.collective && a.no_user_modification);
    assert_eq!(a.usage, Usage::DirectoryOperation);
}

#[test]
fn a_quoted_text_ends_where_the_definition_goes_on() {
    for (definition, description) in [
        ("( 1.2 NAME 'a' DESC 'text'EQUALITY caseIgnoreMatch SYNTAX 1.3 )", "text"),
        ("( 1.2 NAME 'a'DESC 'text' EQUALITY caseIgnoreMatch SYNTAX 1.3 )", "text"),
        ("( 1.2 NAME 'a' DESC 'the users' count' EQUALITY caseIgnoreMatch SYNTAX 1.3 )", "the users' count"),
        (
            "( 1.2 NAME ( 'a' 'b' ) DESC 'it's so' EQUALITY caseIgnoreMatch SYNTAX '1.3' X-ORIGIN 'a user's' )",
            "it's so",
        ),
    ] {
        let a = AttributeType::parse(definition).unwrap();
        assert_eq!(a.description.as_deref(), Some(description), "{definition}");
        assert_eq!(
            (a.names[0].as_str(), a.equality.as_deref(), a.syntax.as_deref()),
            ("a", Some("caseIgnoreMatch"), Some("1.3"))
        );
    }
}

#[test]
fn what_servers_really_publish() {
    // Active Directory quotes the syntax; 389 DS has names for OIDs; both leave things out.
    let ad = AttributeType::parse("( 1.2 NAME 'sn' SYNTAX '1.3.6.1.4.1.1466.115.121.1.15' SINGLE-VALUE )")
        .unwrap();
    assert_eq!(ad.syntax.as_deref(), Some("1.3.6.1.4.1.1466.115.121.1.15"));
    let ds =
        AttributeType::parse("( nsFoo-oid NAME 'nsFoo' DESC '' SUP 'x' X-NEW 'a' X-ORDERED ('b') FUTURE )")
            .unwrap();
    assert_eq!((ds.oid.as_str(), ds.superior.as_deref()), ("nsFoo-oid", Some("x")));
    assert_eq!(AttributeType::parse("(1.2)").unwrap().name(), "1.2");
    for syntax in [
        "1.3.6.1.4.1.1466.115.121.1.27{32}",
        "'1.3.6.1.4.1.1466.115.121.1.27{32}'",
        "1.3.6.1.4.1.1466.115.121.1.27 {32}",
    ] {
        let length = AttributeType::parse(&format!("( 1.2 NAME 'x' SYNTAX {syntax}SINGLE-VALUE)")).unwrap();
        assert!(length.single_value, "{syntax}");
        assert_eq!(length.syntax.as_deref(), Some("1.3.6.1.4.1.1466.115.121.1.27"));
    }
    let tight = ObjectClass::parse("(1.2 NAME'x' SUP(a$b)AUXILIARY MUST(c$ d)MAY e)").unwrap();
    assert_eq!(tight.superiors, ["a", "b"]);
    assert_eq!((tight.must, tight.may), (vec!["c".into(), "d".into()], vec!["e".into()]));
    let apostrophe = AttributeType::parse("( 1.2 DESC 'the user's name' NAME 'x' )").unwrap();
    assert_eq!(apostrophe.description.as_deref(), Some("the user's name"));
    assert_eq!(apostrophe.name(), "x");
}

#[test]
fn an_object_class() {
    let c = ObjectClass::parse("( 2.5.6.6 NAME 'person' SUP top STRUCTURAL MUST ( sn $ cn ) MAY seeAlso )")
        .unwrap();
    assert_eq!((c.name(), c.kind), ("person", ClassKind::Structural));
    assert_eq!((c.must.len(), c.may.len()), (2, 1));
}

#[test]
fn errors_are_typed() {
    let error = |d: &str| AttributeType::parse(d).unwrap_err();
    assert!(matches!(error("1.2"), DefinitionError::NotParenthesised { .. }));
    assert!(matches!(error(""), DefinitionError::NotParenthesised { .. }));
    assert!(matches!(error("( )"), DefinitionError::MissingOid { .. }));
    assert!(matches!(error("( 1.2 NAME 'x'"), DefinitionError::Unclosed { .. }));
    assert!(matches!(error("( 1.2 NAME 'x )"), DefinitionError::Unclosed { .. }));
    assert!(matches!(error("( 1.2 NAME )"), DefinitionError::MissingValue { .. }));
    assert!(matches!(error(&"(".repeat(100_000)), DefinitionError::MissingOid { .. }));
    assert!(matches!(
        error(&("( 1 X-A ".to_owned() + &"(".repeat(100_000))),
        DefinitionError::Unclosed { .. }
    ));
}

proptest! {
    #[test]
    fn never_panics(text in prop_oneof![any::<String>(), "\\( ?1?(NAME|SUP|X-A|SYNTAX|[a-zé'$(){}\\\\ ]){0,20}\\)?"]) {
        let _ = AttributeType::parse(&text);
        let _ = ObjectClass::parse(&text);
    }
}
