use ldap_directory::schema::Schema;
use proptest::prelude::*;

use super::*;

fn key(name: &str) -> DnKey {
    let dn: Vec<String> = name.split(',').map(|p| format!("ou={p}")).collect();
    DnKey::parse(&dn.join(","), Schema::standard()).unwrap()
}

const fn claimant<'a>(stream: &'a str, key: &'a str) -> Claimant<'a> {
    Claimant { stream, key, kind: KeyKind::Key }
}

fn is_denied(claims: &EntryClaims, claimant: Option<&Claimant<'_>>, name: &str) -> bool {
    claims.permit(claimant, name, &key(name), false).is_err()
}

#[test]
fn who_brought_an_entry_may_delete_it_and_nobody_else() {
    let claims = EntryClaims::default();
    let (one, two) = (claimant("s", "id=1"), claimant("s", "id=2"));
    assert!(claims.may_write(&one, "a", &key("a")).is_ok());
    claims.claim(&one, &key("a"));
    let said = claims.may_write(&two, "a", &key("a")).unwrap_err();
    assert!(said.contains("id=1") && said.contains("id=2"), "{said}");
    assert!(matches!(claims.permit(Some(&two), "a", &key("a"), false), Err(DeleteDenied::Error(_))));
    assert!(matches!(
        claims.permit(Some(&claimant("t", "id=1")), "a", &key("a"), false),
        Err(DeleteDenied::Kept(_))
    ));
    assert!(is_denied(&claims, None, "a") && !is_denied(&claims, Some(&one), "a"));
    claims.release(Some(&one), &key("a"));
    assert!(claims.may_write(&two, "a", &key("a")).is_ok() && !is_denied(&claims, None, "a"));
}

#[test]
fn a_key_that_is_the_name_and_one_that_is_for_life_are_no_other_key() {
    let claims = EntryClaims::default();
    let name = |key| Claimant { stream: "s", key, kind: KeyKind::Name };
    claims.claim(&name("dn=ou=a"), &key("a"));
    assert!(claims.may_write(&name("dn=OU=A"), "a", &key("a")).is_ok());
    // A deletion of one spelling says nothing of the other, whichever was last.
    assert!(matches!(
        claims.permit(Some(&name("dn=OU=A")), "a", &key("a"), false),
        Err(DeleteDenied::Kept(_))
    ));
    assert!(!is_denied(&claims, Some(&name("dn=ou=a")), "a"));
    claims.claim(&name("dn=OU=A"), &key("a"));
    assert!(
        is_denied(&claims, Some(&name("dn=ou=a")), "a") && !is_denied(&claims, Some(&name("dn=OU=A")), "a")
    );
    claims.protect(&name("dn=ou=a"), &key("a"));
    assert!(is_denied(&claims, Some(&name("dn=OU=A")), "a"));
    let id = |key| Claimant { stream: "m", key, kind: KeyKind::Id };
    claims.claim(&id("entryUUID=1"), &key("b"));
    assert!(claims.may_write(&id("entryUUID=2"), "b", &key("b")).is_ok());
    claims.claim(&id("entryUUID=2"), &key("b"));
    assert!(matches!(
        claims.permit(Some(&id("entryUUID=1")), "b", &key("b"), false),
        Err(DeleteDenied::Kept(_))
    ));
    assert!(!is_denied(&claims, Some(&id("entryUUID=2")), "b"));
}

#[test]
fn the_older_half_is_forgotten_when_there_is_no_room() {
    let claims = EntryClaims::default();
    for n in 0..100 {
        claims.claim(&claimant("s", &format!("id={n}")), &key(&format!("n{n}")));
    }
    claims.lock().forget_half();
    assert!(!is_denied(&claims, None, "n0") && is_denied(&claims, None, "n99"));
    assert!((49..=50).contains(&claims.lock().entries.len()));
}

#[derive(Debug, Clone)]
enum Step {
    Bring(String),
    Gone(String),
    Rename(String, String),
}

fn name() -> impl Strategy<Value = String> {
    "[ab](,[ab]){0,2}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Compared with a set of DNs that is renamed as a directory renames: every claimed entry stays protected under its DN, and
    /// its ancestors are known.
    #[test]
    fn what_is_brought_is_known_wherever_it_goes(
        steps in proptest::collection::vec(prop_oneof![
            4 => name().prop_map(Step::Bring),
            1 => name().prop_map(Step::Gone),
            2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        ], 1..30),
    ) {
        let claims = EntryClaims::default();
        let mut known: std::collections::BTreeSet<DnKey> = std::collections::BTreeSet::new();
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Bring(name) => {
                    claims.claim(&claimant("s", &format!("id={n}")), &key(name));
                    known.insert(key(name));
                }
                Step::Gone(name) => {
                    // A directory deletes only leaves.
                    if known.iter().any(|k| key(name).is_ancestor_of(k)) {
                        continue;
                    }
                    claims.release(None, &key(name));
                    known.remove(&key(name));
                }
                Step::Rename(from, to) => {
                    let (from, to) = (key(from), key(to));
                    // Nor does it rename to a DN that is taken, or below itself.
                    if to.is_within(&from) || known.iter().any(|k| k.is_within(&to)) {
                        continue;
                    }
                    claims.renamed(&from, &to);
                    known = known.into_iter().map(|k| k.rebased(&from, &to).unwrap_or(k)).collect();
                }
            }
        }
        for name in ["a", "b", "a,a", "b,a", "a,b", "b,b", "a,a,a", "b,b,a", "a,b,b"] {
            let has = known.iter().any(|k| k.is_within(&key(name)));
            // A moved entry may still count at its former DN, but a claimed one is never missed.
            prop_assert!(claims.protects(&key(name)) || !has, "{}: {:?}", name, known);
        }
        if !steps.iter().any(|s| matches!(s, Step::Rename(..))) {
            for name in ["a", "b", "a,a", "b,a", "a,b", "b,b", "a,a,a", "b,b,a", "a,b,b"] {
                let has = known.iter().any(|k| k.is_within(&key(name)));
                prop_assert_eq!(claims.protects(&key(name)), has, "{}", name);
            }
        }
    }
}

#[test]
fn what_an_earlier_period_brought_and_this_one_did_not_may_go() {
    let claims = EntryClaims::default();
    let [one, two, three, other] =
        [claimant("s", "id=1"), claimant("s", "id=2"), claimant("s", "id=3"), claimant("t", "id=2")];
    claims.claim(&one, &key("a"));
    claims.claim(&two, &key("b"));
    claims.claim(&other, &key("b"));
    claims.begin_period(|_| true);
    // Until the decided versions are applied, everything is kept.
    assert!(is_denied(&claims, None, "a"));
    claims.claim(&two, &key("b"));
    claims.claim(&three, &key("c"));
    claims.forget_earlier_periods();
    assert!(!is_denied(&claims, None, "a") && is_denied(&claims, None, "b") && is_denied(&claims, None, "c"));
    // The other stream wrote it before.
    assert!(!is_denied(&claims, Some(&two), "b"));
    claims.begin_period(|_| true);
    claims.forget_earlier_periods();
    assert!(!is_denied(&claims, None, "b") && !claims.protects(&key("b")));
    claims.claim(&one, &key("a"));
    assert!(is_denied(&claims, None, "a"));
}

#[test]
fn a_stream_in_the_middle_of_its_version_keeps_what_it_brought() {
    let claims = EntryClaims::default();
    let (s, t) = (claimant("s", "id=1"), claimant("t", "id=1"));
    for (claimant, name) in [(&s, "a"), (&t, "b"), (&s, "c")] {
        claims.claim(claimant, &key(name));
    }
    claims.begin_period(|stream| stream == "s");
    claims.claim(&s, &key("d"));
    claims.forget_earlier_periods();
    let protected = || ["a", "b", "c", "d"].map(|name| claims.protects(&key(name)));
    assert_eq!(protected(), [false, true, false, true]);
    // Two periods that are carried out together.
    claims.begin_period(|stream| stream == "t");
    claims.claim(&t, &key("a"));
    claims.begin_period(|stream| stream == "s");
    claims.forget_earlier_periods();
    assert_eq!(protected(), [true, false, false, false]);
}
