use ldap_directory::entry::{Attribute, Entry};
use proptest::prelude::*;

use super::*;
use crate::map::wanted::{Wanted, WantedAccount};

fn entry(dn: &str, number: &str) -> Entry {
    Entry { dn: dn.into(), attributes: vec![Attribute::new("employeeNumber", vec![number.into()])] }
}

fn wanted(dn: &str, number: &str) -> WantedEntry {
    WantedEntry {
        dn: dn.into(),
        attributes: vec![Wanted::merged("employeeNumber".into(), number.into())],
        references: Vec::new(),
        account: WantedAccount::default(),
    }
}

#[test]
fn an_index_answers_for_what_the_run_has_not_changed() {
    let schema = Schema::standard();
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap();
    let all = ReferenceIndexes::default();
    let index = all.of("dc=x", "(employeeNumber=*)", "employeeNumber", schema);
    let answer = |number: &str| index.answer(number.as_bytes(), schema);
    let one = |dn: &str| Answer::One(dn.into());
    assert_eq!(answer("1"), Answer::Unknown, "it was not read");
    let reading = index.begin().unwrap();
    for (dn, number) in [("cn=a,dc=x", "1"), ("cn=b,dc=x", "2"), ("cn=c,dc=x", "3"), ("cn=d,dc=x", "3")] {
        assert!(reading.insert(&entry(dn, number), schema));
    }
    assert!(reading.end());
    assert_eq!(answer("1"), one("cn=a,dc=x"));
    assert_eq!((answer("3"), answer("4")), (Answer::Unknown, Answer::Nothing));
    // While it is written to, nothing is known; then an entry that was added is.
    let (at, new) = (key("cn=e,dc=x"), wanted("cn=e,dc=x", "4"));
    let write = all.touch(&at, &new, schema);
    assert_eq!(answer("4"), Answer::Unknown);
    write.end(&at, &new, true, schema);
    assert_eq!(answer("4"), one("cn=e,dc=x"));
    let (at, new) = (key("cn=a,dc=x"), wanted("cn=a,dc=x", "5"));
    all.touch(&at, &new, schema).end(&at, &new, false, schema);
    assert_eq!((answer("1"), answer("5")), (Answer::Unknown, Answer::Unknown));
    all.forget(&key("cn=b,dc=x"), true);
    assert_eq!((answer("2"), answer("4")), (Answer::Unknown, one("cn=e,dc=x")));
    all.forget(&key("dc=x"), true);
    assert_eq!(answer("4"), Answer::Unknown, "what is below it has another name");
}

#[test]
fn what_makes_a_reading_void_meanwhile_is_not_complete_at_its_end() {
    let schema = Schema::standard();
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap();
    let all = ReferenceIndexes::default();
    let index = all.of("dc=x", "(employeeNumber=*)", "employeeNumber", schema);
    let answers = || ["1", "2"].map(|number| index.answer(number.as_bytes(), schema));
    // An ancestor is renamed.
    let reading = index.begin().unwrap();
    assert!(index.begin().is_none(), "one at a time");
    assert!(reading.insert(&entry("cn=a,ou=a,dc=x", "1"), schema));
    all.forget(&key("ou=a,dc=x"), true);
    assert!(!reading.insert(&entry("cn=b,ou=b,dc=x", "2"), schema));
    assert!(!reading.end());
    assert_eq!(answers(), [Answer::Unknown, Answer::Unknown]);
    // It is not completed by one that began before, and what a dropped one read is forgotten.
    let reading = index.begin().unwrap();
    all.again();
    let next = index.begin().unwrap();
    assert!(!reading.insert(&entry("cn=a,dc=x", "1"), schema) && !reading.end());
    drop(next);
    assert_eq!(answers(), [Answer::Unknown, Answer::Unknown]);
    // More is written than is kept: nothing is known until it may be read again.
    let reading = index.begin().unwrap();
    for n in 0..=MOST_WRITTEN {
        all.forget(&key(&format!("cn=n{n},dc=y")), false);
    }
    assert!(!reading.end() && index.begin().is_none());
    assert_eq!((answers(), index.due()), ([Answer::Unknown, Answer::Unknown], None));
    all.again();
    index.begin().unwrap().give_up();
    all.again();
    assert!(index.begin().is_none(), "it was given up");
    // Of a write that is older than the index nothing is known.
    let wanted = wanted("cn=a,dc=x", "1");
    let write = all.touch(&key("cn=a,dc=x"), &wanted, schema);
    let made =
        [("dc=y", "(cn=*)"), ("dc=z", "(cn=*)")].map(|(base, filter)| all.of(base, filter, "cn", schema));
    assert!(made.iter().all(|index| index.begin().is_none()));
    write.end(&key("cn=a,dc=x"), &wanted, false, schema);
    assert!(made.iter().all(|index| index.begin().is_some()));
}

/// People in two units. Units are renamed, and people written, while they are read.
#[derive(Debug)]
struct Model {
    units: [u32; 2],
    /// The unit and the number of each, if it exists.
    people: Vec<Option<(usize, usize)>>,
}

impl Model {
    fn dn(&self, person: usize, unit: usize) -> String {
        format!("cn=p{person},{}", self.unit(unit))
    }

    fn unit(&self, unit: usize) -> String {
        format!("ou=u{unit}-{},dc=x", self.units[unit])
    }

    fn holders(&self, number: usize) -> Vec<String> {
        let all = self.people.iter().enumerate();
        let found = all.filter_map(|(n, person)| Some((n, (*person)?)));
        found.filter(|(_, (_, other))| *other == number).map(|(n, (unit, _))| self.dn(n, unit)).collect()
    }
}

/// A write of a person.
struct InProgress {
    person: usize,
    wanted: WantedEntry,
    number: usize,
    unit: usize,
    is_added: bool,
    is_made: bool,
    write: Write,
}

/// Runs steps in some order, and compares all answers after each.
fn check_model(steps: &[(u8, usize, usize)]) {
    let schema = Schema::standard();
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap();
    let all = ReferenceIndexes::default();
    let index = all.of("dc=x", "(employeeNumber=*)", "employeeNumber", schema);
    let mut model =
        Model { units: [0; 2], people: vec![Some((0, 0)), Some((0, 1)), Some((1, 2)), None, None] };
    let (mut reading, mut left) = (None, Vec::new());
    let mut writes: Vec<InProgress> = Vec::new();
    let mut renamed: Option<usize> = None;
    for (at, (step, one, other)) in steps.iter().enumerate() {
        match step {
            0 if reading.is_none() => {
                reading = index.begin();
                left = (0..model.people.len()).collect();
            }
            // Most steps read.
            1..=3 => {
                if let (Some(person), Some(reads)) = (left.pop(), &reading)
                    && let Some((unit, number)) = model.people[person]
                    && !reads.insert(&entry(&model.dn(person, unit), &number.to_string()), schema)
                {
                    reading = None;
                }
            }
            4 if left.is_empty() => {
                if let Some(reading) = reading.take() {
                    reading.end();
                }
            }
            5 if renamed.is_none() && !writes.iter().any(|write| write.person == one % 5) => {
                let person = one % 5;
                let (unit, is_added) =
                    model.people[person].map_or((other % 2, true), |(unit, _)| (unit, false));
                let wanted = wanted(&model.dn(person, unit), &other.to_string());
                let write = all.touch(&key(&wanted.dn), &wanted, schema);
                let number = *other;
                writes.push(InProgress { person, wanted, number, unit, is_added, is_made: false, write });
            }
            6 if !writes.is_empty() => {
                let count = writes.len();
                let write = &mut writes[one % count];
                if write.is_made {
                    let InProgress { wanted, write, is_added, .. } = writes.swap_remove(one % count);
                    // The answer may be lost.
                    if *other > 0 {
                        write.end(&key(&wanted.dn), &wanted, is_added, schema);
                    }
                } else {
                    write.is_made = true;
                    model.people[write.person] = Some((write.unit, write.number));
                }
            }
            7 => match renamed.take() {
                Some(unit) => model.units[unit] += 1,
                None if writes.is_empty() => {
                    let unit = one % 2;
                    let (old, mut then) = (model.unit(unit), model.units);
                    then[unit] += 1;
                    all.forget(&key(&old), true);
                    all.forget(&key(&Model { units: then, people: Vec::new() }.unit(unit)), true);
                    renamed = Some(unit);
                }
                None => {}
            },
            _ => {}
        }
        for number in 0..4 {
            let holders = model.holders(number);
            match index.answer(number.to_string().as_bytes(), schema) {
                Answer::Unknown => {}
                Answer::Nothing => assert_eq!(holders, [""; 0], "after {:?}", &steps[..=at]),
                Answer::One(dn) => assert_eq!(holders, [&*dn], "after {:?}", &steps[..=at]),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_answer_is_true_whatever_is_written_while_it_is_read(
        steps in proptest::collection::vec((0_u8..8, 0_usize..5, 0_usize..4), 0..60),
    ) {
        check_model(&steps);
    }
}
