use proptest::prelude::*;
use singer_common::schema::Schema;

use super::*;

fn key(name: &str) -> DnKey {
    let dn: Vec<String> = name.split(',').map(|p| format!("ou={p}")).collect();
    DnKey::parse(&dn.join(","), Schema::standard()).unwrap()
}

const fn who<'a>(stream: &'a str, key: &'a str) -> Who<'a> {
    Who { stream, key, kind: KeyKind::Key }
}

fn is_denied(books: &Books, who: Option<&Who<'_>>, name: &str) -> bool {
    books.permit(who, name, &key(name), false).is_err()
}

#[test]
fn who_brought_an_entry_may_delete_it_and_nobody_else() {
    let books = Books::default();
    let (one, two) = (who("s", "id=1"), who("s", "id=2"));
    assert!(books.may_bring(&one, "a", &key("a")).is_ok());
    books.brought(&one, &key("a"));
    let said = books.may_bring(&two, "a", &key("a")).unwrap_err();
    assert!(said.contains("id=1") && said.contains("id=2"), "{said}");
    assert!(matches!(books.permit(Some(&two), "a", &key("a"), false), Err(Denied::Error(_))));
    assert!(matches!(books.permit(Some(&who("t", "id=1")), "a", &key("a"), false), Err(Denied::Kept(_))));
    assert!(is_denied(&books, None, "a") && !is_denied(&books, Some(&one), "a"));
    books.gone(Some(&one), &key("a"));
    assert!(books.may_bring(&two, "a", &key("a")).is_ok() && !is_denied(&books, None, "a"));
}

#[test]
fn a_key_that_is_the_name_and_one_that_is_for_life_are_no_other_key() {
    let books = Books::default();
    let name = |key| Who { stream: "s", key, kind: KeyKind::Name };
    books.brought(&name("dn=ou=a"), &key("a"));
    assert!(books.may_bring(&name("dn=OU=A"), "a", &key("a")).is_ok());
    // A deletion of the one spelling says nothing of the other, whichever came last.
    assert!(matches!(books.permit(Some(&name("dn=OU=A")), "a", &key("a"), false), Err(Denied::Kept(_))));
    assert!(!is_denied(&books, Some(&name("dn=ou=a")), "a"));
    books.brought(&name("dn=OU=A"), &key("a"));
    assert!(
        is_denied(&books, Some(&name("dn=ou=a")), "a") && !is_denied(&books, Some(&name("dn=OU=A")), "a")
    );
    books.rejected(&name("dn=ou=a"), &key("a"));
    assert!(is_denied(&books, Some(&name("dn=OU=A")), "a"));
    let id = |key| Who { stream: "m", key, kind: KeyKind::Id };
    books.brought(&id("entryUUID=1"), &key("b"));
    assert!(books.may_bring(&id("entryUUID=2"), "b", &key("b")).is_ok());
    books.brought(&id("entryUUID=2"), &key("b"));
    assert!(matches!(books.permit(Some(&id("entryUUID=1")), "b", &key("b"), false), Err(Denied::Kept(_))));
    assert!(!is_denied(&books, Some(&id("entryUUID=2")), "b"));
}

#[test]
fn the_older_half_is_forgotten_when_there_is_no_room() {
    let books = Books::default();
    for n in 0..100 {
        books.brought(&who("s", &format!("id={n}")), &key(&format!("n{n}")));
    }
    books.lock().forget_half();
    assert!(!is_denied(&books, None, "n0") && is_denied(&books, None, "n99"));
    assert!((49..=50).contains(&books.lock().entries.len()));
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

    /// What a set of names would say, renamed as a directory renames them: what is brought stays protected wherever it goes,
    /// and what lies above it is known to.
    #[test]
    fn what_is_brought_is_known_wherever_it_goes(
        steps in proptest::collection::vec(prop_oneof![
            4 => name().prop_map(Step::Bring),
            1 => name().prop_map(Step::Gone),
            2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        ], 1..30),
    ) {
        let books = Books::default();
        let mut known: std::collections::BTreeSet<DnKey> = std::collections::BTreeSet::new();
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Bring(name) => {
                    books.brought(&who("s", &format!("id={n}")), &key(name));
                    known.insert(key(name));
                }
                Step::Gone(name) => {
                    // A directory deletes what nothing lies below.
                    if known.iter().any(|k| key(name).is_ancestor_of(k)) {
                        continue;
                    }
                    books.gone(None, &key(name));
                    known.remove(&key(name));
                }
                Step::Rename(from, to) => {
                    let (from, to) = (key(from), key(to));
                    // Nor does it rename to a name that is taken, or below itself.
                    if to.is_within(&from) || known.iter().any(|k| k.is_within(&to)) {
                        continue;
                    }
                    books.renamed(&from, &to);
                    known = known.into_iter().map(|k| k.rebased(&from, &to).unwrap_or(k)).collect();
                }
            }
        }
        for name in ["a", "b", "a,a", "b,a", "a,b", "b,b", "a,a,a", "b,b,a", "a,b,b"] {
            let has = known.iter().any(|k| k.is_within(&key(name)));
            // What was moved away may be taken for known at its former name, too: never the other way round.
            prop_assert!(books.keeps(&key(name)) || !has, "{}: {:?}", name, known);
        }
        if !steps.iter().any(|s| matches!(s, Step::Rename(..))) {
            for name in ["a", "b", "a,a", "b,a", "a,b", "b,b", "a,a,a", "b,b,a", "a,b,b"] {
                let has = known.iter().any(|k| k.is_within(&key(name)));
                prop_assert_eq!(books.keeps(&key(name)), has, "{}", name);
            }
        }
    }
}

#[test]
fn what_an_earlier_period_brought_and_this_one_did_not_may_go() {
    let books = Books::default();
    let [one, two, three, other] = [who("s", "id=1"), who("s", "id=2"), who("s", "id=3"), who("t", "id=2")];
    books.brought(&one, &key("a"));
    books.brought(&two, &key("b"));
    books.brought(&other, &key("b"));
    books.begin_period();
    // Until what was decided is carried out, all of it stays.
    assert!(is_denied(&books, None, "a"));
    books.brought(&two, &key("b"));
    books.brought(&three, &key("c"));
    books.forget_earlier_periods();
    assert!(!is_denied(&books, None, "a") && is_denied(&books, None, "b") && is_denied(&books, None, "c"));
    // The other stream brought it before.
    assert!(!is_denied(&books, Some(&two), "b"));
    books.begin_period();
    books.forget_earlier_periods();
    assert!(!is_denied(&books, None, "b") && !books.keeps(&key("b")));
    books.brought(&one, &key("a"));
    assert!(is_denied(&books, None, "a"));
}
