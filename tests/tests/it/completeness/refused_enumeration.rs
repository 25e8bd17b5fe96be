//! Servers that refuse the search that lists all DNs, or answer it in part.

use std::collections::BTreeSet;

use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX as FAKE_SUFFIX, object};
use ldap_tests::fake::{Fake, Filter, Operation, Request, Role, Scope, entry, message, result};
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use super::{assert_each_once, field, file, json_log, person, thing, warnings};
use crate::support::{discover, people, reader_config, unit, with};

/// A server that gives the reader 20 entries at most, with containers below that and a directory above it.
fn of_few_entries() -> (Slapd, Vec<String>) {
    let mut seed = thing("cn=thing,dc=example,dc=test") + &person("cn=below,cn=thing,dc=example,dc=test");
    for name in ["a", "b", "c"] {
        let base = format!("ou={name},dc=example,dc=test");
        seed += &(unit(&base) + &people(10, &base));
    }
    let slapd = Slapd::start(SlapdOptions {
        database_conf: "limits dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" size=20\n".into(),
        ..SlapdOptions::with_users().seed(seed)
    });
    let dns = slapd.dump().into_keys().collect();
    (slapd, dns)
}

fn activated(output: &Output) -> BTreeSet<&str> {
    output.of_type("ACTIVATE_VERSION").iter().map(|m| m["stream"].as_str().unwrap()).collect()
}

#[test]
fn a_server_that_refuses_the_list_of_names_is_read_level_by_level() {
    let (slapd, dns) = of_few_entries();
    let config = with(&reader_config(&slapd), &json!({"page_size": 0}));
    let catalog = discover(&config);
    for verify in ["auto", "always", "never"] {
        let config = with(&config, &json!({"verify": verify}));
        for run in [json_log(&config), json_log(&config).file("--catalog", &catalog)] {
            let output = run.run().succeeds();
            assert_each_once(&output, dns.iter().map(String::as_str));
            assert_eq!(
                activated(&output),
                BTreeSet::from(["organizational_units", "people", "a", "b", "c"]),
                "only of the stream with others nested in it nobody knows whether it is whole"
            );
            assert_eq!(field(&output, "incomplete_streams"), 1);
            let warnings = warnings(&output);
            assert_eq!(warnings.len(), 1, "{}", output.stderr);
            let text = warnings[0]["message"].as_str().unwrap();
            assert!(text.contains("sizeLimitExceeded (4)") && text.contains("page_size"), "{text}");
        }
    }
    // With pages the same reader may have all, and everything is verified.
    let output = json_log(&with(&config, &json!({"page_size": 10}))).run().succeeds();
    assert_each_once(&output, dns.iter().map(String::as_str));
    assert_eq!((activated(&output).len(), field(&output, "incomplete_streams")), (6, Value::Null));
}

#[test]
fn a_first_read_without_the_list_of_names_keeps_no_position_of_what_it_may_have_missed() {
    let (slapd, dns) = of_few_entries();
    let config = with(&reader_config(&slapd), &json!({"page_size": 0}));
    for method in ["INCREMENTAL", "LOG_BASED"] {
        let mut catalog = discover(&config);
        for stream in catalog["streams"].as_array_mut().unwrap() {
            stream["replication_method"] = json!(method);
            let own =
                stream["metadata"].as_array_mut().unwrap().iter_mut().find(|m| m["breadcrumb"] == json!([]));
            own.unwrap()["metadata"]["replication-method"] = json!(method);
        }
        let output = json_log(&config).file("--catalog", &catalog).run().succeeds();
        assert_each_once(&output, dns.iter().map(String::as_str));
        let state = output.of_type("STATE").last().unwrap()["value"]["bookmarks"].clone();
        let kept: BTreeSet<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(
            kept.contains("ou=a,dc=example,dc=test") && !kept.contains("dc=example,dc=test"),
            "{method}: {kept:?}"
        );
        // The next run reads that one whole again, and goes on with the others.
        let again =
            json_log(&config).file("--catalog", &catalog).file("--state", &json!({"bookmarks": state}));
        let again = again.run().succeeds();
        assert_each_once(&again, ["cn=thing,dc=example,dc=test", "cn=below,cn=thing,dc=example,dc=test"]);
    }
}

/// A limit in force without a size: the search of everything is refused.
#[test]
fn every_limit_counts() {
    for (code, name) in
        [(3, "timeLimitExceeded"), (11, "adminLimitExceeded"), (51, "busy"), (53, "unwillingToPerform")]
    {
        let server = Fake::start(Refusing(code));
        let config = json!({"server_url": server.uri(), "base_dn": "dc=x", "retry_attempts": 0});
        let output = json_log(&config).run().succeeds();
        assert_each_once(&output, ["dc=x", "ou=a,dc=x", "cn=one,ou=a,dc=x", "cn=two,dc=x"]);
        assert_eq!(activated(&output), BTreeSet::from(["organizational_units", "a"]), "{name}");
        let texts: Vec<String> = warnings(&output).iter().map(|w| w["message"].to_string()).collect();
        assert_eq!(texts.iter().filter(|text| text.contains(name)).count(), 1, "{texts:?}");
    }
}

/// For loaders that end at ACTIVATE_VERSION.
#[test]
fn versions_are_not_activated_for_who_does_not_want_it() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: cn=a,dc=x\nobjectClass: device\ncn: a\n\n";
    let config = file(dir.path(), text);
    let usual = Run::tap(&config).run().succeeds();
    assert!(!activated(&usual).is_empty(), "the default");
    let output = Run::tap(&with(&config, &json!({"emit_activate_version_messages": false}))).run().succeeds();
    assert!(activated(&output).is_empty());
    assert_eq!(output.records(None), usual.records(None));
    assert!(!output.of_type("STATE").is_empty() && output.stderr.contains("done"), "{}", output.stderr);
}

/// Refuses to list everything below the base, with this code.
struct Refusing(u8);

impl Role for Refusing {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        const ENTRIES: [(&str, &str); 4] = [
            ("dc=x", "domain"),
            ("ou=a,dc=x", "organizationalUnit"),
            ("cn=one,ou=a,dc=x", "device"),
            ("cn=two,dc=x", "device"),
        ];
        let done = |code| message(request.id, result(5, code, ""), &[]);
        let search = match &request.operation {
            Operation::Search(search) => search,
            Operation::Bind => return Some(vec![message(request.id, result(1, 0, ""), &[])]),
            _ => return None,
        };
        let is_everything =
            matches!(&search.filter, Filter::Present(name) if name.eq_ignore_ascii_case("objectClass"));
        if search.base == "dc=x" && search.scope == Scope::Sub && is_everything && search.size_limit == 0 {
            return Some(vec![done(self.0)]);
        }
        let depth = |dn: &str| dn.split(',').count();
        let is_in_scope = |dn: &str| match search.scope {
            Scope::Base => dn == search.base,
            Scope::One => dn.ends_with(&format!(",{}", search.base)) && depth(dn) == depth(&search.base) + 1,
            Scope::Sub => dn == search.base || dn.ends_with(&format!(",{}", search.base)),
        };
        let mut answer = Vec::new();
        for (dn, class) in ENTRIES.into_iter().filter(|(dn, _)| is_in_scope(dn)) {
            let classes = vec![class.as_bytes().to_vec()];
            let values =
                |name: &str| if name.eq_ignore_ascii_case("objectClass") { &classes[..] } else { &[][..] };
            if search.filter.passes(&values) {
                answer.push(message(request.id, entry(dn, &[("objectClass".into(), classes.clone())]), &[]));
            }
        }
        answer.push(done(0));
        Some(answer)
    }
}

#[test]
fn parts_of_a_stream_are_verified_and_what_they_cannot_give_is_read_singly() {
    const PEOPLE: &str = "ou=people,dc=example,dc=test";
    // The reader may not search by the id of some entries, beyond those that the sample sees: no range has them.
    let slapd = Slapd::start(SlapdOptions {
        access: "access to dn.regex=\"^uid=person2[0-9]77,\" attrs=entryUUID by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" none by * break\n".into(),
        ..SlapdOptions::with_users().seed(people(3_000, PEOPLE))
    });
    let more = json!({"schemas": [{"name": "all", "base_dn": PEOPLE, "key_properties": ["dn"]}], "partitions": 3, "connection_pool_size": 5});
    let config = with(&reader_config(&slapd), &more);
    let output = json_log(&config).run().succeeds();
    let dump = slapd.dump_attributes(&["objectClass"]);
    assert_each_once(&output, dump.keys().filter(|dn| dn.ends_with(PEOPLE)).map(String::as_str));
    assert_eq!(field(&output, "books_differ"), 0);
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
}

/// A domain controller that has an entry's name, and gives the entry itself to nobody.
struct Withholding {
    whole: ActiveDirectory,
    lacking: ActiveDirectory,
}

impl Role for Withholding {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let names_only = matches!(&request.operation, Operation::Search(search) if search.attributes.iter().all(|name| name == "1.1"));
        if names_only { self.whole.answer(request) } else { self.lacking.answer(request) }
    }
}

#[test]
fn an_entry_whose_name_alone_is_given_is_missed() {
    let dn = |rdn: &str| format!("{rdn},OU=Staff,{FAKE_SUFFIX}");
    let unit = object(
        &format!("OU=Staff,{FAKE_SUFFIX}"),
        "organizationalUnit",
        1,
        &[("ou", vec![b"Staff".to_vec()])],
    );
    let contact =
        |name: &str, id| object(&dn(&format!("CN={name}")), "contact", id, &[("cn", vec![name.into()])]);
    let lacking = vec![unit, contact("a", 2), contact("b", 3)];
    let whole = [lacking.clone(), vec![contact("withheld", 4)]].concat();
    let role = Withholding { whole: ActiveDirectory::new(whole), lacking: ActiveDirectory::new(lacking) };
    let server = Fake::start(role);
    let config = json!({"server_url": server.uri(), "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test",
        "bind_password": "secret", "base_dn": FAKE_SUFFIX});
    let output = json_log(&config).run().succeeds();
    assert_eq!(output.records(Some("staff")).len(), 2);
    let activated: Vec<&Value> =
        output.of_type("ACTIVATE_VERSION").into_iter().map(|m| &m["stream"]).collect();
    assert!(!activated.contains(&&json!("staff")), "{activated:?}");
    let warning = output.stderr.lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["books_differ"].is_u64() && event["stream"] == "staff").then_some(event)
    });
    let warning = warning.unwrap_or_else(|| panic!("no warning: {}", output.stderr));
    assert_eq!(warning["books_differ"], 1);
    assert!(warning.to_string().contains("CN=withheld"), "{warning}");
    assert_eq!(field(&output, "books_differ"), 1);
    assert_eq!(
        field(&output, "books_held").as_u64(),
        field(&output, "books_emitted").as_u64().map(|n| n + 1)
    );
}
