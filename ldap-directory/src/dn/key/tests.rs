use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::dn::{Rdn, split};

fn key(dn: &str) -> DnKey {
    DnKey::parse(dn, Schema::standard()).unwrap()
}

#[test]
fn names_compare_by_schema() {
    assert_eq!(
        key("CN=Ada  Lovelace,OU=People, DC=Example"),
        key("2.5.4.3=ada lovelace;ou=people,dc=EXAMPLE")
    );
    assert_eq!(key("commonName=a+sn=b"), key("surname=B+cn=A"));
    assert_eq!(key("uid=a,dc=x"), key("userid=A,domainComponent=X"));
    assert_ne!(key("cn=a+sn=b"), key(r"cn=a\+sn\=b"));
    assert_ne!(key("cn=a,dc=x"), key(r"cn=a\,dc\=x"));
    assert_ne!(key("cn=a"), key("sn=a"));
    assert_eq!(key("foo=A"), key("FOO=a"), "caseIgnore for what the schema does not know");
    assert_ne!(key("uidNumber=1"), key("uidNumber=2"));
    assert_eq!(key("uidNumber=01"), key("uidNumber=1"));
}

#[test]
fn a_name_in_a_name_in_a_name_does_not_recurse() {
    let deep = "member=".repeat(100_000) + "cn=x";
    assert_eq!(key(&deep).depth(), 1);
}

#[test]
fn keys_know_the_tree() {
    let (base, child) = (key("dc=x"), key("cn=a,dc=x"));
    assert_eq!(child.parent(), Some(base.clone()));
    assert_eq!(base.parent(), Some(DnKey::root()));
    assert_eq!(DnKey::root().parent(), None);
    assert!(base.is_ancestor_of(&child) && !base.is_ancestor_of(&base) && base.is_within(&base));
    assert!(!key("cn=a,dc=xy").is_within(&base));
    assert!(DnKey::root().is_ancestor_of(&base));
    assert_eq!(child.depth(), 2);
    assert_eq!(child.to_string(), "cn=a,dc=x");
}

#[test]
fn rewrites_suffixes() {
    let schema = Schema::standard();
    let rewrite = SuffixRewrite::new("dc=a,dc=com", "dc=b,dc=org").unwrap();
    let apply = |dn| rewrite.apply(dn, schema);
    assert_eq!(apply(r"cn=A\2CB , OU=X,DC=A, dc=com").unwrap(), r"cn=A\2CB , OU=X,dc=b,dc=org");
    assert_eq!(apply("dc=a,dc=com").unwrap(), "dc=b,dc=org");
    assert_eq!(apply("dc=com"), None);
    assert_eq!(apply("cn=x,dc=aa,dc=com"), None);
    assert_eq!(apply("not a name"), None);
    assert_eq!(SuffixRewrite::new("", "o=x").unwrap().apply("cn=a", schema).unwrap(), "cn=a,o=x");
    assert_eq!(SuffixRewrite::new("o=x", "").unwrap().apply("cn=a,o=x", schema).unwrap(), "cn=a");
}

fn small_dn() -> impl Strategy<Value = String> {
    let value = prop_oneof!["[a-c!,\\\\+= #\0]{0,3}", "[a-b]"];
    let rdn = ("cn|sn|foo|2\\.5\\.4\\.3|member", value).prop_map(|(t, v)| Rdn::single(t, v));
    proptest::collection::vec(rdn, 0..4).prop_map(|rdns| Dn { rdns }.to_string())
}

fn assert_all_ways_agree(dn: &str) {
    let schema = Schema::standard();
    let expected = Dn::parse(dn).map(|d| DnKey::new(&d, schema));
    assert_eq!(DnKey::parse(dn, schema), expected);
    // Without what is above being known, and with it.
    let mut above = Above::default();
    assert_eq!(above.key(dn, schema), expected);
    assert_eq!(above.key(dn, schema), expected);
}

proptest! {
    #[test]
    fn the_short_way_is_the_long_way(dn in "(,?[a-cOID.0-9@_ -]{0,5}=?[A-Za-c.@_ =-]{0,3}){0,4}") {
        assert_all_ways_agree(&dn);
    }

    #[test]
    fn the_short_way_is_the_long_way_for_names(dn in "((cn|OU|uidNumber|2.5.4.3|member|foo|oid.2.5.4.4)=[A-Za-c0-9.@_ -]{0,4},){0,3}dc=x") {
        assert_all_ways_agree(&dn);
    }

    #[test]
    fn parents_and_ancestors_agree_with_names(a in small_dn(), b in small_dn()) {
        let (dn, schema) = (Dn::parse(&a).unwrap(), Schema::standard());
        let (ka, kb) = (key(&a), key(&b));
        prop_assert_eq!(ka.parent(), dn.parent().map(|p| p.key(schema)));
        prop_assert_eq!(ka.depth(), dn.depth());
        let mut above = std::iter::successors(ka.parent(), DnKey::parent);
        prop_assert_eq!(kb.is_ancestor_of(&ka), above.any(|k| k == kb));
        prop_assert_eq!(ka.is_within(&kb), ka == kb || kb.is_ancestor_of(&ka));
        prop_assert!(ka.parent().is_none_or(|p| p < ka));
    }

    #[test]
    fn a_subtree_is_one_run(dns in proptest::collection::vec(small_dn(), 1..12), base in small_dn()) {
        let base = key(&base);
        let all: BTreeSet<DnKey> = dns.iter().map(|d| key(d)).collect();
        let run: Vec<&DnKey> = all.range(base.subtree()).collect();
        let within: Vec<&DnKey> = all.iter().filter(|k| k.is_within(&base)).collect();
        prop_assert_eq!(run, within);
    }

    #[test]
    fn a_rewrite_keeps_the_head_and_comes_back(dn in small_dn(), base in small_dn(), to in small_dn()) {
        let schema = Schema::standard();
        let full = [&*dn, &*base].into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(",");
        let there = SuffixRewrite::new(&base, &to).unwrap().apply(&full, schema).unwrap();
        prop_assert_eq!(split(&there).unwrap(), [split(&dn).unwrap(), split(&to).unwrap()].concat());
        let back = SuffixRewrite::new(&to, &base).unwrap().apply(&there, schema).unwrap();
        prop_assert_eq!(back, full);
    }
}
