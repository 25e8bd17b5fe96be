//! The limits of Active Directory that Windows enforces and Samba does not, played by a fake server.

use ldap_tests::fake::active_directory::{ActiveDirectory, FakeEntry, SUFFIX, Which, object};
use ldap_tests::fake::{Fake, Filter, Scope, Search};
use ldap_tests::run::Run;
use serde_json::{Value, json};

use crate::support::{discover, stream, with};

const MEMBERS: usize = 5_000;

fn config(server: &Fake) -> Value {
    json!({
        "server_url": server.uri(),
        "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test",
        "bind_password": "secret",
        "discovery_sample_size": 10,
    })
}

fn contact(n: usize) -> FakeEntry {
    let name = format!("c{n}");
    let dn = format!("CN={name},OU=Contacts,{SUFFIX}");
    object(&dn, "contact", u32::try_from(n).unwrap() + 10, &[("cn", vec![name.into_bytes()])])
}

fn unit(id: u32, name: &str) -> FakeEntry {
    object(&format!("OU={name},{SUFFIX}"), "organizationalUnit", id, &[("ou", vec![name.into()])])
}

fn contacts(count: usize) -> ActiveDirectory {
    let mut entries = vec![unit(1, "Contacts")];
    entries.extend((0..count).map(contact));
    ActiveDirectory::new(entries)
}

/// A group of 5,000 that nobody else is asked about.
fn everyone() -> ActiveDirectory {
    let members = (0..MEMBERS).map(|n| format!("CN=c{n},OU=Contacts,{SUFFIX}").into_bytes()).collect();
    let group = object(
        &format!("CN=Everyone,OU=Groups,{SUFFIX}"),
        "group",
        3,
        &[("cn", vec![b"Everyone".to_vec()]), ("member", members)],
    );
    ActiveDirectory::new(vec![unit(1, "Groups"), group])
}

fn all_members() -> Vec<String> {
    (0..MEMBERS).map(|n| format!("CN=c{n},OU=Contacts,{SUFFIX}")).collect()
}

#[test]
fn a_group_of_5000_members_arrives_whole_in_order_and_once() {
    let server = Fake::start(everyone());
    let output = Run::tap(&config(&server)).run().succeeds();
    let groups = output.records(Some("groups"));
    let members: Vec<&str> =
        groups[0]["member"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    assert_eq!(members, all_members());
    // It was asked for range by range, as [MS-ADTS] has it.
    let ranges: Vec<String> = server
        .searches()
        .into_iter()
        .filter(|s| s.scope == Scope::Base)
        .flat_map(|s| s.attributes)
        .filter(|a| a.contains("range"))
        .collect();
    for range in ["member;range=1500-*", "member;range=3000-*", "member;range=4500-*"] {
        assert!(ranges.iter().any(|r| r == range), "{range} among {ranges:?}");
    }
}

#[test]
fn the_members_of_a_group_of_5000_are_5000_rows() {
    let server = Fake::start(everyone());
    let output = Run::tap(&with(&config(&server), &json!({"membership_streams": true}))).run().succeeds();
    let rows = output.records(Some("groups_members"));
    let members: Vec<&str> = rows.iter().map(|r| r["member"].as_str().unwrap()).collect();
    assert_eq!(members, all_members());
}

#[test]
fn pages_of_1000_are_read_to_the_end_however_large_a_page_was_asked_for() {
    const COUNT: usize = 2_500;
    for page_size in [5_000, 1_000, 300] {
        let server = Fake::start(contacts(COUNT));
        let output = Run::tap(&with(&config(&server), &json!({"page_size": page_size}))).run().succeeds();
        let names: Vec<&str> =
            output.records(Some("contacts")).iter().map(|r| r["cn"].as_str().unwrap()).collect();
        assert_eq!(names, (0..COUNT).map(|n| format!("c{n}")).collect::<Vec<_>>());
        assert!(output.of_type("ACTIVATE_VERSION").iter().any(|m| m["stream"] == "contacts"));
    }
}

#[test]
fn a_sample_is_larger_than_the_limit_where_it_is_asked_to_be() {
    let mut directory = contacts(1_200);
    directory.entries.push(unit(2, "More"));
    // The 1,051st of the unit: behind the limit, and within the sample.
    let rare = format!("CN=c1050,OU=Contacts,{SUFFIX}");
    let entry = directory.entries.iter_mut().find(|(dn, _)| *dn == rare).unwrap();
    entry.1.push(("rare".to_owned(), vec![b"x".to_vec()]));
    let server = Fake::start(directory);
    let sampled = |size: usize| {
        let before = server.searches().len();
        let catalog = discover(&with(&config(&server), &json!({"discovery_sample_size": size})));
        let searches = server.searches().split_off(before);
        let contacts = stream(&catalog, &format!("OU=Contacts,{SUFFIX}"));
        (contacts["schema"]["properties"].get("rare").is_some(), searches)
    };
    let limits = |searches: &[Search], unit: &str| -> Vec<usize> {
        let base = format!("OU={unit},{SUFFIX}");
        searches.iter().filter(|s| s.base == base).map(|s| s.size_limit).collect()
    };
    let (found, searches) = sampled(1_100);
    assert!(found);
    // A size limit first, one more for the base; then by pages, and by pages at once, since it was in vain.
    assert_eq!(limits(&searches, "Contacts"), [1_101, 0, 0]);
    assert_eq!(limits(&searches, "More"), [0]);
    let (found, searches) = sampled(900);
    assert!(!found, "the sample ends before");
    assert_eq!(limits(&searches, "Contacts"), [901]);
    assert_eq!(limits(&searches, "More"), [901]);
    // So many are not to wait in memory.
    let (found, searches) = sampled(5_000);
    assert!(found);
    assert_eq!(limits(&searches, "Contacts"), [0, 0]);
}

#[test]
fn without_pages_the_limit_of_1000_is_1_and_activates_nothing() {
    let server = Fake::start(contacts(2_500));
    let catalog = discover(&config(&server));
    let unpaged = with(&config(&server), &json!({"page_size": 0}));
    // The limit is met as early as when the inner entries are looked for.
    for run in [
        Run::tap(&unpaged).file("--catalog", &catalog),
        Run::tap(&with(
            &unpaged,
            &json!({"schemas": [{"name": "contacts", "base_dn": format!("OU=Contacts,{SUFFIX}"),
                "filter": "(objectClass=contact)"}], "discovery_sample_size": 10}),
        )),
    ] {
        let output = run.run().exits(1).reports_code(4);
        assert!(output.of_type("ACTIVATE_VERSION").iter().all(|m| m["stream"] != "contacts"));
        crate::support::no_panic(&output);
    }
}

#[test]
fn references_met_while_containers_are_looked_up_are_counted() {
    let looks_up_containers: Which = |s| matches!(s.filter, Filter::Or(_));
    let looks_up_inner: Which = |s| s.scope == Scope::Sub && s.attributes == ["1.1"];
    // What lies between containers concerns the base alone, in which another one is nested.
    let cases: [(Which, &[&str]); 2] =
        [(looks_up_containers, &[]), (looks_up_inner, &["organizational_units", "contacts"])];
    for (is_met, complete) in cases {
        let mut directory = contacts(5);
        directory.reference = Some(("ldap://192.0.2.1/DC=other,DC=example,DC=test".to_owned(), is_met));
        let server = Fake::start(directory);
        let output = Run::tap(&config(&server)).run().succeeds().says("referral(s)");
        assert_eq!(output.records(Some("contacts")).len(), 5);
        let activated: Vec<&str> =
            output.of_type("ACTIVATE_VERSION").iter().map(|m| m["stream"].as_str().unwrap()).collect();
        assert_eq!(activated, complete);
    }
}
