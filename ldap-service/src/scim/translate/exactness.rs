//! A translated filter finds exactly the entries whose resources match the filter.

use std::collections::BTreeSet;

use ldap_directory::Vendor;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::schema::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::mapping;
use super::{Field, Filter, Translator, Truth};
use crate::scim::filter::{AttrPath, Expr, Operator};
use crate::scim::mapping::ResourceType;
use crate::scim::resource::{Related, Renderer, holds};

/// Words that differ in case and spaces, contain each other, and have characters of filters.
const WORDS: &[&str] = &["a", "A b", "ab", "B", "a*b", "(b)", "é", "\\a"];

fn word() -> impl Strategy<Value = String> {
    proptest::sample::select(WORDS).prop_map(str::to_owned)
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let values = |most| proptest::collection::btree_set(word(), 0..=most);
    (word(), values(2), values(2), values(2), any::<bool>()).prop_map(
        |(uid, title, mail, mobile, disabled)| {
            let octets = |set: BTreeSet<String>| set.into_iter().map(String::into_bytes).collect::<Vec<_>>();
            let mut attributes = vec![
                Attribute::new("entryUUID", vec![b"5f8b1e0a-1111-4222-8333-444455556666".to_vec()]),
                Attribute::new("modifyTimestamp", vec![b"20260131080000Z".to_vec()]),
                Attribute::new("uid", vec![uid.into_bytes()]),
            ];
            let mut add = |name: &str, values: Vec<Vec<u8>>| {
                if !values.is_empty() {
                    attributes.push(Attribute::new(name, values));
                }
            };
            add("title", octets(title));
            // Its syntax (IA5 String) has no other text: no server has such a value.
            add("mail", octets(mail.into_iter().filter(|word| word.is_ascii()).collect()));
            add("mobile", octets(mobile));
            if disabled {
                add("pwdAccountLockedTime", vec![b"000001010000Z".to_vec()]);
            }
            Entry { dn: "uid=x,dc=x".into(), attributes }
        },
    )
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let operator = || {
        proptest::sample::select(&[Operator::Eq, Operator::Ne, Operator::Co, Operator::Sw, Operator::Ew][..])
    };
    let path = proptest::sample::select(
        &["userName", "title", "emails", "emails.value", "phoneNumbers.value", "phoneNumbers.type"][..],
    );
    let text = || prop_oneof![word(), Just("mobile".to_owned()), Just(String::new())].prop_map(Value::from);
    let compare = |path: &str, operator, value| Expr::Compare {
        path: AttrPath::from_token(path).unwrap(),
        operator,
        value,
    };
    let leaf = prop_oneof![
        (path.clone(), operator(), text())
            .prop_map(move |(path, operator, value)| compare(path, operator, value)),
        path.prop_map(|path| Expr::Present(AttrPath::from_token(path).unwrap())),
        any::<bool>().prop_map(move |v| compare("active", Operator::Eq, json!(v))),
    ];
    let inner = (proptest::sample::select(&["value", "type"][..]), operator(), text())
        .prop_map(move |(path, operator, value)| compare(path, operator, value))
        .prop_recursive(2, 4, 2, combined);
    let element = (proptest::sample::select(&["emails", "phoneNumbers"][..]), inner)
        .prop_map(|(name, inner)| Expr::Element { path: AttrPath::of(name), filter: Box::new(inner) });
    prop_oneof![leaf, element].prop_recursive(3, 12, 3, combined)
}

fn combined(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    prop_oneof![
        proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
        proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
        inner.prop_map(|e| Expr::Not(Box::new(e))),
    ]
}

/// Evaluates a filter against a resource, as RFC 7644 section 3.4.2.2 says.
fn matches(expr: &Expr, resource: &Value) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|p| matches(p, resource)),
        Expr::Or(parts) => parts.iter().any(|p| matches(p, resource)),
        Expr::Not(inner) => !matches(inner, resource),
        Expr::Present(path) => !values(resource, path).is_empty(),
        Expr::Element { path, filter } => {
            let elements = resource.get(&path.name).and_then(Value::as_array);
            elements.into_iter().flatten().any(|element| matches(filter, element))
        }
        Expr::Compare { path, operator, value } => {
            let found = values(resource, path);
            match operator {
                Operator::Ne => !found.iter().any(|v| compares(v, Operator::Eq, value)),
                operator => found.iter().any(|v| compares(v, *operator, value)),
            }
        }
    }
}

fn values<'v>(resource: &'v Value, path: &AttrPath) -> Vec<&'v Value> {
    let Some(value) = resource.get(&path.name) else { return Vec::new() };
    let sub = path.sub.as_deref().or((path.name == "emails").then_some("value"));
    let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    elements.iter().filter_map(|e| sub.map_or(Some(e), |sub| e.get(sub))).collect()
}

/// All of the attributes here ignore case (and telephone numbers spaces).
fn compares(value: &Value, operator: Operator, wanted: &Value) -> bool {
    let (Value::String(a), Value::String(b)) = (value, wanted) else { return value == wanted };
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    match operator {
        Operator::Co => a.contains(&b),
        Operator::Sw => a.starts_with(&b),
        Operator::Ew => a.ends_with(&b),
        _ => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_translation_is_exact_or_refused(expr in any_expr(), entry in any_entry()) {
        // mobile ignores spaces, as telephone numbers do: another attribute takes its place.
        let users = mapping(ResourceType::User, Vendor::OpenLdap, &[
            ("phoneNumbers[mobile]", "carLicense"), ("phoneNumbers[work]", "roomNumber"), ("phoneNumbers[home]", "none"),
            ("phoneNumbers[pager]", "none"),
        ]);
        let schema = Schema::standard();
        let mut entry = entry;
        for attribute in &mut entry.attributes {
            if attribute.description == "mobile" {
                attribute.description = "carLicense".into();
            }
        }
        let renderer = Renderer { mapping: &users, schema, base: "", user_of: &|_| None };
        let resource = renderer.render(&entry, &Related::default()).unwrap();
        let as_shown = |field: &Field, is_one: bool, leaf: &Filter| Some(holds(leaf, field, is_one, &entry, schema));
        let search = Translator {
            mapping: &users, schema, vendor: Vendor::OpenLdap, dn_of: &|_| None, uids_of: &|_| Vec::new(), sids_of: &|_| (None, None),
            shown: &|_, _, _| None,
        };
        // What no search expresses is refused, whatever an entry has.
        if search.translate(&expr).is_err() {
            return Ok(());
        }
        let translator = Translator { shown: &as_shown, ..search };
        let found = match translator.translate(&expr) {
            Err(_) => return Ok(()),
            Ok(Truth::Always) => true,
            Ok(Truth::Never) => false,
            Ok(Truth::Filter(filter)) => filter.matches(&entry, schema) == Some(true),
        };
        prop_assert_eq!(found, matches(&expr, &resource), "{}", resource);
    }
}
