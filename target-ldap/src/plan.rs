//! Stage 3, plan: the fewest modifications that turn an existing entry into the wanted one. Pure.
//!
//! [`assertion`] makes the condition of a modify, [`entry_digests`] answers for entries that were read in advance, [`marker`] is what an
//! entry that was set aside says of itself, [`standing`] how far that is believed, [`redated`] what an undo or an approved plan writes of it,
//! [`other_options`] finds what a mirrored entry has beyond its record, [`reference_index`] the entries that references are.

use std::collections::HashSet;

use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::schema::{ObjectClass, Schema};

use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::policy::Policy;

pub mod assertion;
pub mod entry_digests;
pub mod marker;
pub mod other_options;
pub mod redated;
pub mod reference_index;
pub mod standing;

impl WantedEntry {
    /// Returns the modifications that turn `current` into the wanted entry; none if it is already.
    ///
    /// Values compare by the attribute's EQUALITY rule. They are added and deleted singly if that is less than replacing all,
    /// and if the server can compare them.
    pub fn changes(&self, current: &Entry, schema: &Schema) -> Vec<Modification> {
        self.attributes.iter().flat_map(|wanted| steps(wanted, current, schema)).collect()
    }
}

/// Returns the modifications of one attribute: none, one, or a deletion and an addition.
fn steps(wanted: &Wanted, current: &Entry, schema: &Schema) -> Vec<Modification> {
    let name = &wanted.description;
    let step = |kind, values| Modification::new(kind, name.clone(), values);
    if wanted.policy == Policy::CreateOnly {
        return vec![];
    }
    let present = schema.values_of(current, name);
    if present.is_empty() {
        return match wanted.policy {
            _ if wanted.values.is_empty() => vec![],
            // No visible value: an attribute that can be written but not read (userPassword) may have some.
            Policy::Force => vec![step(ModificationKind::Replace, wanted.values.clone())],
            Policy::Keep | Policy::Merge | Policy::CreateOnly => {
                vec![step(ModificationKind::Add, wanted.values.clone())]
            }
        };
    }
    if wanted.policy == Policy::Keep {
        return vec![];
    }
    let rule = wanted.rule(schema);
    let normal = |v: &Vec<u8>| rule.normalize(v, schema).into_owned();
    let there: HashSet<Vec<u8>> = present.iter().map(normal).collect();
    let missing: Vec<Vec<u8>> =
        wanted.values.iter().filter(|v| !there.contains(&normal(v))).cloned().collect();
    let surplus: Vec<Vec<u8>> = if wanted.policy == Policy::Merge {
        vec![]
    } else {
        let kept: HashSet<Vec<u8>> = wanted.values.iter().map(normal).collect();
        let implied = implied_classes(wanted, schema);
        let is_implied = |v: &[u8]| class_name(v, schema).is_some_and(|c| implied.contains(c));
        present.iter().filter(|v| !kept.contains(&normal(v)) && !is_implied(v)).cloned().collect()
    };
    if missing.is_empty() && surplus.is_empty() {
        return vec![];
    }
    let kind = ValueKind::of(schema, name);
    if wanted.values.is_empty()
        && wanted.policy == Policy::Force
        && let Some(no_time) = kind.no_time(name)
    {
        // The server requires a value: "never" is one.
        if present.iter().all(|value| kind.is_no_time(value)) {
            return vec![];
        }
        return vec![step(ModificationKind::Replace, vec![no_time.into()])];
    }
    if wanted.policy == Policy::Force && wanted.values.is_empty() {
        return vec![step(ModificationKind::Delete, vec![])];
    }
    // Without an EQUALITY rule single values can be neither added nor deleted (RFC 4511 section 4.6; slapd: inappropriateMatching),
    // whatever the policy: the whole set is written, `surplus` being what the policy lets go.
    if !schema.has_equality(name) {
        let kept = present.iter().filter(|v| !surplus.contains(v));
        let all = match wanted.policy {
            Policy::Force => wanted.values.clone(),
            _ => kept.cloned().chain(missing).collect(),
        };
        return vec![step(ModificationKind::Replace, all)];
    }
    if wanted.policy == Policy::Force && missing.len() + surplus.len() >= wanted.values.len() {
        return vec![step(ModificationKind::Replace, wanted.values.clone())];
    }
    let mut steps = Vec::new();
    if !surplus.is_empty() {
        steps.push(step(ModificationKind::Delete, surplus));
    }
    if !missing.is_empty() {
        steps.push(step(ModificationKind::Add, missing));
    }
    steps
}

/// Whether a modification changes nothing on Active Directory, though the value differs ([MS-ADTS] 2.2.16, 3.1.1.5.3.2). In
/// `userAccountControl` the server adds a missing account type, computes two bits itself, and requires a value. In `pwdLastSet`
/// it replaces -1 by the current time. Other servers do none of this.
pub(crate) fn is_equivalent_on_ad(step: &Modification, current: &Entry, schema: &Schema) -> bool {
    const NORMAL_ACCOUNT: i64 = 0x200;
    /// Every value has one of these.
    const KINDS: i64 = 0x100 | NORMAL_ACCOUNT | 0x800 | 0x1000 | 0x2000;
    /// Locked out, and the password has expired.
    const WORKED_OUT: i64 = 0x10 | 0x80_0000;
    let is = |name: &str| step.description.eq_ignore_ascii_case(name);
    if !is("userAccountControl") && !is("pwdLastSet") {
        return false;
    }
    let number = |value: &[u8]| -> Option<i64> { std::str::from_utf8(value).ok()?.parse().ok() };
    let [there] = schema.values_of(current, &step.description) else { return false };
    match (step.kind, step.values.as_slice()) {
        (ModificationKind::Delete, []) => is("userAccountControl"),
        (ModificationKind::Replace, [value]) if is("pwdLastSet") => value == b"-1" && there != b"0",
        (ModificationKind::Replace, [value]) => {
            number(value).zip(number(there)).is_some_and(|(value, there)| {
                let kind = if value & KINDS == 0 { NORMAL_ACCOUNT } else { 0 };
                (value | kind) & !WORKED_OUT == there & !WORKED_OUT
            })
        }
        _ => false,
    }
}

/// Attributes of which Active Directory deletes no value, and Samba neither (`del_prot_attributes`; [MS-SAMR] 3.1.1.8), each with the
/// value of a new account; `None`: there is none that fits all entries. Times of the kind FILETIME have theirs from
/// [`ValueKind::no_time`], and `userAccountControl` from [`is_equivalent_on_ad`].
const NEVER_ABSENT_ON_AD: [(&str, Option<&str>); 15] = [
    ("accountExpires", Some("9223372036854775807")),
    ("badPasswordTime", Some("0")),
    ("badPwdCount", Some("0")),
    ("codePage", Some("0")),
    ("countryCode", Some("0")),
    ("groupType", None),
    ("lastLogoff", Some("0")),
    ("lastLogon", Some("0")),
    ("logonCount", Some("0")),
    ("nTSecurityDescriptor", None),
    ("objectSid", None),
    ("primaryGroupID", None),
    ("pwdLastSet", Some("0")),
    ("sAMAccountName", None),
    ("sAMAccountType", None),
];

/// What becomes of a modification on Active Directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepOnAd {
    /// It is sent as it is.
    Same,
    /// It changes nothing.
    Nothing,
    /// This one is sent.
    Other(Modification),
    /// The server refuses it in every run: the attribute always has a value, and there is none to take its place.
    Refused,
}

/// Whether a modification is sent to Active Directory as it is, whatever the entry has.
pub(crate) fn is_same_on_ad(step: &Modification) -> bool {
    let is = |name: &str| step.description.eq_ignore_ascii_case(name);
    !step.values.is_empty() && !is("userAccountControl") && !is("pwdLastSet")
}

/// Returns what becomes of a modification on Active Directory. A removal of an attribute that always has a value writes the value of
/// a new account.
pub(crate) fn step_on_ad(step: &Modification, current: &Entry, schema: &Schema) -> StepOnAd {
    if is_equivalent_on_ad(step, current, schema) {
        return StepOnAd::Nothing;
    }
    let removes = matches!(step.kind, ModificationKind::Delete | ModificationKind::Replace);
    let of = |(name, _): &&(&str, _)| step.description.eq_ignore_ascii_case(name);
    let Some((_, initial)) = NEVER_ABSENT_ON_AD.iter().find(of).filter(|_| removes && step.values.is_empty())
    else {
        return StepOnAd::Same;
    };
    match initial.map(|value| value.as_bytes().to_vec()) {
        None => StepOnAd::Refused,
        Some(value) if schema.values_of(current, &step.description) == [value.as_slice()] => {
            StepOnAd::Nothing
        }
        Some(value) => {
            let name = step.description.clone();
            StepOnAd::Other(Modification::new(ModificationKind::Replace, name, vec![value]))
        }
    }
}

/// Returns the superclasses of the wanted object classes. A server adds them by itself (RFC 4512 section 3.3: 389 DS and Active
/// Directory do), so they are not surplus.
fn implied_classes<'s>(wanted: &Wanted, schema: &'s Schema) -> HashSet<&'s str> {
    if schema.canonical_name(&wanted.description) != "objectClass" {
        return HashSet::new();
    }
    let classes = wanted.values.iter().filter_map(|v| std::str::from_utf8(v).ok());
    schema.class_closure(classes).into_iter().map(ObjectClass::name).collect()
}

fn class_name<'s>(value: &[u8], schema: &'s Schema) -> Option<&'s str> {
    schema.object_class(std::str::from_utf8(value).ok()?).map(ObjectClass::name)
}

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;

    use super::*;
    use crate::map::wanted::WantedAccount;
    use crate::rules::policy::Compare;
    use proptest::prelude::*;

    #[test]
    fn what_active_directory_says_in_other_words_is_there_already() {
        let schema = Schema::standard();
        let has_steps = |name: &str, there: &str, values: &[&str]| {
            let there = Entry { dn: "cn=x".into(), attributes: vec![attribute(name, &[there])] };
            let all = steps(&wanted(name, values, Policy::Force), &there, schema);
            assert!(!all.is_empty(), "to another server it is a change");
            all.iter().any(|step| !is_equivalent_on_ad(step, &there, schema))
        };
        for (value, there, changes) in [
            ("0", "512", false),
            ("8388608", "512", false),
            ("65536", "66048", false),
            ("512", "8389120", false),
            ("514", "512", true),
            ("512", "66048", true),
            ("4096", "512", true),
            ("0", "514", true),
        ] {
            assert_eq!(has_steps("userAccountControl", there, &[value]), changes, "{there} -> {value}");
        }
        assert!(!has_steps("userAccountControl", "512", &[]), "it cannot be removed");
        assert!(!has_steps("pwdLastSet", "134404145873874890", &["-1"]));
        assert!(
            has_steps("pwdLastSet", "0", &["-1"]) && has_steps("pwdLastSet", "134404145873874890", &["0"])
        );
    }

    fn attribute(name: &str, values: &[&str]) -> Attribute {
        Attribute::new(name, values.iter().map(|v| v.as_bytes().to_vec()).collect())
    }

    fn wanted(name: &str, values: &[&str], policy: Policy) -> Wanted {
        let values = values.iter().map(|v| v.as_bytes().to_vec()).collect();
        Wanted { description: name.into(), values, policy, compare: Compare::Schema }
    }

    fn plan(there: Attribute, want: Wanted) -> Vec<(ModificationKind, Vec<String>)> {
        let current = Entry { dn: "cn=x".into(), attributes: vec![there] };
        let entry = WantedEntry {
            dn: "cn=x".into(),
            attributes: vec![want],
            references: vec![],
            account: WantedAccount::default(),
        };
        let text = |v: &Vec<u8>| String::from_utf8(v.clone()).unwrap();
        entry
            .changes(&current, Schema::standard())
            .iter()
            .map(|m| (m.kind, m.values.iter().map(text).collect()))
            .collect()
    }

    #[test]
    fn values_compare_by_the_attributes_rule() {
        // caseIgnoreMatch, telephoneNumberMatch, distinguishedNameMatch: nothing differs.
        assert_eq!(plan(attribute("sn", &["Van  Dyke"]), wanted("sn", &["van dyke "], Policy::Force)), []);
        assert_eq!(
            plan(
                attribute("telephoneNumber", &["+1 555-0100"]),
                wanted("telephoneNumber", &["+15550100"], Policy::Force)
            ),
            []
        );
        assert_eq!(
            plan(attribute("member", &["cn=A B, dc=x"]), wanted("member", &["CN=a b,DC=X"], Policy::Force)),
            []
        );
        // caseExactMatch: they differ.
        assert_eq!(
            plan(
                attribute("homeDirectory", &["/home/A"]),
                wanted("homeDirectory", &["/home/a"], Policy::Force)
            ),
            [(ModificationKind::Replace, vec!["/home/a".to_owned()])]
        );
    }

    #[test]
    fn superclasses_that_the_server_added_stay() {
        let there = || attribute("objectClass", &["top", "person", "organizationalPerson", "inetOrgPerson"]);
        let want = |classes: &[&str]| wanted("objectClass", classes, Policy::Force);
        assert_eq!(plan(there(), want(&["inetOrgPerson"])), []);
        assert_eq!(plan(there(), want(&["INETORGPERSON", "2.5.6.6"])), []);
        assert_eq!(
            plan(there(), want(&["person"])),
            [(ModificationKind::Replace, vec!["person".to_owned()])],
            "what is no superclass goes"
        );
        assert_eq!(
            plan(there(), want(&["inetOrgPerson", "posixAccount", "shadowAccount"])),
            [(ModificationKind::Add, vec!["posixAccount".to_owned(), "shadowAccount".to_owned()])]
        );
    }

    #[test]
    fn policies_decide_what_counts() {
        let there = || attribute("mail", &["a@x", "b@x", "c@x"]);
        let singly = plan(there(), wanted("mail", &["a@x", "b@x", "c@x", "d@x"], Policy::Force));
        assert_eq!(singly, [(ModificationKind::Add, vec!["d@x".to_owned()])]);
        let replaced = plan(there(), wanted("mail", &["d@x"], Policy::Force));
        assert_eq!(replaced, [(ModificationKind::Replace, vec!["d@x".to_owned()])]);
        assert_eq!(plan(there(), wanted("mail", &[], Policy::Force)), [(ModificationKind::Delete, vec![])]);
        assert_eq!(plan(there(), wanted("mail", &["d@x"], Policy::Keep)), []);
        let merged = plan(there(), wanted("mail", &["d@x", "A@X"], Policy::Merge));
        assert_eq!(merged, [(ModificationKind::Add, vec!["d@x".to_owned()])]);
        assert_eq!(plan(there(), wanted("mail", &["d@x"], Policy::CreateOnly)), []);
    }

    #[test]
    fn what_cannot_be_seen_is_replaced_and_not_joined() {
        let hidden = || Attribute::new("userPassword", vec![]);
        let forced = plan(hidden(), wanted("userPassword", &["new"], Policy::Force));
        assert_eq!(forced, [(ModificationKind::Replace, vec!["new".to_owned()])]);
        let merged = plan(hidden(), wanted("member", &["cn=x"], Policy::Merge));
        assert_eq!(merged, [(ModificationKind::Add, vec!["cn=x".to_owned()])]);
    }

    #[test]
    fn what_active_directory_never_deletes_gets_the_value_of_a_new_account() {
        let schema = Schema::standard();
        let of = |name: &str, there: &str| {
            let there = Entry { dn: "cn=x".into(), attributes: vec![attribute(name, &[there])] };
            let all = steps(&wanted(name, &[], Policy::Force), &there, schema);
            all.iter().map(|step| step_on_ad(step, &there, schema)).collect::<Vec<_>>()
        };
        for (name, initial) in NEVER_ABSENT_ON_AD {
            let Some(initial) = initial else {
                assert_eq!(of(name, "7"), [StepOnAd::Refused], "{name}");
                continue;
            };
            let kind = ModificationKind::Replace;
            let expected = Modification::new(kind, name, vec![initial.into()]);
            let steps = of(name, "7");
            let is_it = |step: &StepOnAd| match step {
                StepOnAd::Other(other) => *other == expected,
                // Times are written so for every server.
                StepOnAd::Same => ValueKind::of(schema, name) == ValueKind::FileTime,
                _ => false,
            };
            assert!(steps.len() == 1 && steps.iter().all(is_it), "{name}: {steps:?}");
            assert!(of(name, initial).iter().all(|step| *step == StepOnAd::Nothing), "{name}");
        }
        assert_eq!(of("userAccountControl", "512"), [StepOnAd::Nothing]);
        assert_eq!(of("title", "x"), [StepOnAd::Same]);
    }

    #[test]
    fn an_attribute_without_equality_is_replaced_whole() {
        let steps = plan(
            attribute("jpegPhoto", &["a", "b", "c"]),
            wanted("jpegPhoto", &["a", "b", "c", "d"], Policy::Force),
        );
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].0, ModificationKind::Replace);
        let merged =
            plan(attribute("jpegPhoto", &["a", "b"]), wanted("jpegPhoto", &["b", "c"], Policy::Merge));
        let union = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(merged, [(ModificationKind::Replace, union)]);
        assert_eq!(plan(attribute("jpegPhoto", &["a", "b"]), wanted("jpegPhoto", &["b"], Policy::Merge)), []);
    }

    #[test]
    fn no_time_is_a_value_of_active_directory() {
        let never = || attribute("accountExpires", &["9223372036854775807"]);
        let none = |name: &str| wanted(name, &[], Policy::Force);
        assert_eq!(plan(never(), none("accountExpires")), []);
        assert_eq!(plan(attribute("accountExpires", &["0"]), none("accountExpires")), []);
        let replaced = |value: &str| [(ModificationKind::Replace, vec![value.to_owned()])];
        let time = "132223104000000000";
        let expires = plan(attribute("accountExpires", &[time]), none("accountExpires"));
        assert_eq!(expires, replaced("9223372036854775807"));
        assert_eq!(plan(attribute("lockoutTime", &[time]), none("lockoutTime")), replaced("0"));
    }

    fn carry_out(current: &mut Entry, steps: &[Modification], schema: &Schema) {
        for step in steps {
            let same = |a: &Vec<u8>, b: &Vec<u8>| schema.values_match(&step.description, a, b);
            let mut values = current.values(&step.description).to_vec();
            match step.kind {
                ModificationKind::Add => {
                    assert!(step.values.iter().all(|v| !values.iter().any(|w| same(v, w))), "added twice");
                    values.extend(step.values.iter().cloned());
                }
                ModificationKind::Delete => {
                    assert!(step.values.iter().all(|v| values.iter().any(|w| same(v, w))), "not there");
                    values.retain(|v| !step.values.is_empty() && !step.values.iter().any(|w| same(v, w)));
                }
                ModificationKind::Replace => values.clone_from(&step.values),
                ModificationKind::Increment => panic!("never planned"),
            }
            current.attributes.retain(|a| a.description != step.description);
            current.attributes.push(Attribute::new(step.description.clone(), values));
        }
    }

    fn policy() -> impl Strategy<Value = Policy> {
        proptest::sample::select(vec![Policy::Force, Policy::Keep, Policy::Merge, Policy::CreateOnly])
    }

    fn values() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::btree_set("[a-dA-D]{1,2}", 0..6).prop_map(|set| {
            // No two are equal by caseIgnoreMatch.
            let mut seen = HashSet::new();
            set.into_iter().filter(|v| seen.insert(v.to_lowercase())).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Applying the plan gives the wanted entry under the policy, and a second plan is empty.
        #[test]
        fn a_plan_reaches_its_aim_and_then_rests(
            there in values(), want in values(), exact in any::<bool>(), octets in any::<bool>(), policy in policy(),
        ) {
            let schema = Schema::standard();
            let name = if exact { "homeDirectory" } else { "mail" };
            let compare = if octets { Compare::Exact } else { Compare::Schema };
            let as_ref = |v: &Vec<String>| v.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>();
            let mut current = Entry { dn: "cn=x".into(), attributes: vec![Attribute::new(name, as_ref(&there))] };
            let entry = WantedEntry {
                dn: "cn=x".into(),
                attributes: vec![Wanted { description: name.into(), values: as_ref(&want), policy, compare }],
                references: Vec::new(),
                account: WantedAccount::default(),
            };
            let steps = entry.changes(&current, schema);
            carry_out(&mut current, &steps, schema);
            let by = if policy == Policy::Force { compare } else { Compare::Schema };
            let normal = |vs: &[Vec<u8>]| -> HashSet<Vec<u8>> {
                vs.iter().map(|v| by.rule(name, schema).normalize(v, schema).into_owned()).collect()
            };
            let (before, wanted) = (normal(&as_ref(&there)), normal(&as_ref(&want)));
            let aim = match policy {
                Policy::Force => wanted,
                Policy::Keep => if before.is_empty() { wanted } else { before },
                Policy::Merge => before.union(&wanted).cloned().collect(),
                Policy::CreateOnly => before,
            };
            prop_assert_eq!(normal(current.values(name)), aim);
            prop_assert!(entry.changes(&current, schema).is_empty());
        }
    }
}
