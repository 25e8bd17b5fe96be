use proptest::prelude::*;

use super::*;

fn octets(values: &[String]) -> Vec<Vec<u8>> {
    values.iter().map(|v| v.as_bytes().to_vec()).collect()
}

fn values() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[a-cA-C ]{0,3}", 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The modifications of the cache are those of a plan made from the entry itself. It knows when nothing differs, except
    /// for values that would be added to others.
    #[test]
    fn nothing_differs_where_the_plan_is_empty(
        there in values(), want in values(), exact in any::<bool>(), by_octets in any::<bool>(),
        policy in proptest::sample::select(vec![Policy::Force, Policy::Keep, Policy::Merge, Policy::CreateOnly]),
    ) {
        let schema = Schema::standard();
        let name = if exact { "homeDirectory" } else { "mail" };
        let compare = if by_octets { Compare::Exact } else { Compare::Schema };
        let rule = schema.equality(name);
        let mut seen = HashSet::new();
        let mut once = |values: &[String]| -> Vec<Vec<u8>> {
            seen.clear();
            octets(values).into_iter().filter(|v| seen.insert(rule.normalize(v, schema).into_owned())).collect()
        };
        let entry = Entry { dn: "cn=x".into(), attributes: vec![Attribute::new(name, once(&there))] };
        let wanted = WantedEntry {
            dn: "cn=x".into(),
            attributes: vec![Wanted { description: name.into(), values: once(&want), policy, compare }],
            references: Vec::new(),
            account: WantedAccount::default(),
        };
        let digest_cache = EntryDigestCache::new(vec![(name.to_owned(), compare)], None);
        prop_assert!(digest_cache.insert(&entry, schema));
        let key = DnKey::parse("CN=x", schema).unwrap();
        let plan = wanted.changes(&entry, schema);
        match digest_cache.changes(&wanted, &key, None, schema) {
            Some(known) => prop_assert_eq!(known.changes, plan),
            None => prop_assert!(!plan.is_empty() || policy == Policy::Merge),
        }
        digest_cache.forget(&key, false);
        prop_assert_eq!(digest_cache.changes(&wanted, &key, None, schema), None);
    }
}

#[test]
fn what_a_filter_finds_is_one_or_nobody() {
    let schema = Schema::standard();
    let digest_cache = EntryDigestCache::new(vec![], Some("employeeType".to_owned()));
    let insert = |dn: &str, number: &str| {
        let attribute = Attribute::new("employeeType", vec![number.as_bytes().to_vec()]);
        assert!(digest_cache.insert(&Entry { dn: dn.into(), attributes: vec![attribute] }, schema));
    };
    let is = |dn: &str, number: &str| {
        let wanted = WantedEntry {
            dn: dn.into(),
            attributes: vec![],
            references: vec![],
            account: WantedAccount::default(),
        };
        let filter = format!("(&(objectClass=person)(employeeType={number}))");
        digest_cache.changes(&wanted, &DnKey::parse(dn, schema).unwrap(), Some(&filter), schema).is_some()
    };
    insert("cn=a,ou=u", "one");
    insert("cn=b,ou=u", "two");
    assert!(is("cn=a,ou=u", "ONE"), "as the attribute's values compare");
    assert!(!is("cn=b,ou=u", "one") && !is("cn=a,ou=u", "three"));
    insert("cn=c,ou=u", "two");
    assert!(!is("cn=b,ou=u", "two"), "two that fit");
    digest_cache.forget(&DnKey::parse("cn=other,ou=u", schema).unwrap(), true);
    assert!(is("cn=a,ou=u", "one"));
    digest_cache.forget(&DnKey::parse("ou=u", schema).unwrap(), true);
    assert!(!is("cn=a,ou=u", "one"), "what lies above has another name now");
}

#[test]
fn what_a_run_had_to_do_with_is_bounded_and_nothing_is_absent_then() {
    let schema = Schema::standard();
    let digest_cache = EntryDigestCache::new(vec![], None);
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap();
    let entry = Entry { dn: "cn=a,ou=u".into(), attributes: vec![] };
    assert!(digest_cache.insert(&entry, schema));
    digest_cache.complete(key("ou=u"));
    assert!(digest_cache.is_absent(&key("cn=b,ou=u"), None, schema));
    digest_cache.touch(&key("cn=b,ou=u"), None, schema);
    assert!(!digest_cache.is_absent(&key("cn=b,ou=u"), None, schema));
    let more = u64::try_from(MOST_TOUCHED).unwrap();
    digest_cache.entries().touched.extend(0..more);
    digest_cache.touch(&key("cn=c,ou=u"), None, schema);
    for dn in ["cn=b,ou=u", "cn=c,ou=u", "cn=d,ou=u"] {
        assert!(!digest_cache.is_absent(&key(dn), None, schema), "{dn}");
        digest_cache.touch(&key(dn), None, schema);
    }
    assert!(digest_cache.entries().touched.is_empty());
    let wanted = WantedEntry {
        dn: entry.dn.clone(),
        attributes: vec![],
        references: vec![],
        account: WantedAccount::default(),
    };
    assert!(
        digest_cache.changes(&wanted, &key("cn=a,ou=u"), None, schema).is_some(),
        "what is there is known"
    );
}

#[test]
fn an_inventory_is_tried_when_lookups_have_cost_as_much() {
    let mut lookups = LookupBudget::default();
    let due: Vec<(u64, u64)> = (1..5_000).filter_map(|n| lookups.record().map(|most| (n, most))).collect();
    assert_eq!(due, [(200, 2_000), (800, 8_000), (3_200, 32_000)]);
    lookups.read(4_000);
    let due: Vec<(u64, u64)> =
        (5_000..6_000).filter_map(|n| lookups.record().map(|most| (n, most))).collect();
    assert_eq!(due, [(5_399, 53_990)]);
}
