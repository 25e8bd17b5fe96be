//! Servers that hide some entries: the tap reads what another client sees as the same user, each entry once; or the run reports
//! that it is not complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ldap_tests::client::{Client, tree};
use ldap_tests::ldif::{Tree, normalize_dn, shown};
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::cases::{self, Failure, Problem, check};
use super::output::{Stream, streams, told, warns};
use crate::support::no_panic;
use crate::support::rng::Rng;

/// Cases of a run of the suite; each is a tap's two runs, and some of them have a server in common.
const CASES: usize = 8;
/// Cases that one server serves.
const PER_SERVER: usize = 8;
const SUFFIX: &str = "dc=example,dc=test";
const USERS: &[&str] = &["alice", "bob", "replica"];

/// A server's tree: DNs, parents first, and its LDIF.
struct Grown {
    dns: Vec<String>,
    ldif: String,
}

/// Units in units, people and devices that others lie below, groups.
fn grow(rng: &mut Rng) -> Grown {
    let mut grown = Grown { dns: vec![SUFFIX.to_owned()], ldif: String::new() };
    let count = 6 + rng.below(30);
    for n in 0..count {
        let above = rng.pick(&grown.dns).clone();
        let (rdn, rest) = match rng.below(10) {
            0..4 => (format!("ou=unit{n}"), format!("objectClass: organizationalUnit\nou: unit{n}\n")),
            4..8 => (
                format!("uid=p{n}"),
                format!(
                    "objectClass: inetOrgPerson\nuid: p{n}\ncn: Person {n}\nsn: S{n}\nmail: p{n}@example.test\n"
                ),
            ),
            8 => (format!("cn=d{n}"), format!("objectClass: device\ncn: d{n}\ndescription: text {n}\n")),
            _ => (
                format!("cn=g{n}"),
                format!(
                    "objectClass: groupOfNames\ncn: g{n}\nmember: uid=alice,ou=people,{SUFFIX}\nmember: {above}\n"
                ),
            ),
        };
        let dn = format!("{rdn},{above}");
        write!(grown.ldif, "dn: {dn}\n{rest}\n").unwrap();
        grown.dns.push(dn);
    }
    grown
}

/// Rules that take something from somebody (slapd.access(5)): the first that fits decides, and all but the named users
/// go on to the next.
fn rules(dns: &[String], rng: &mut Rng) -> String {
    let mut rules = String::new();
    let count = 1 + rng.below(4);
    for _ in 0..count {
        let dn = rng.pick(dns);
        let user = format!("uid={},ou=people,{SUFFIX}", rng.pick(USERS));
        let style = rng.pick(&["base", "base", "base", "subtree", "children", "one"]);
        let attributes = match rng.below(10) {
            0..4 => "",
            4..6 => " attrs=entryUUID",
            6 => " attrs=entryUUID,entryCSN,modifyTimestamp,createTimestamp",
            7 => " attrs=hasSubordinates,structuralObjectClass",
            8 => " attrs=mail,cn,description,member",
            _ => " attrs=objectClass",
        };
        let level = rng.pick(&["none", "none", "none", "search", "disclose"]);
        writeln!(
            rules,
            "access to dn.{style}=\"{dn}\"{attributes} by dn.exact=\"{user}\" {level} by * break"
        )
        .unwrap();
    }
    rules
}

/// What a user sees below a base; `None` where the base is not to be seen.
///
/// The filter is the tap's as well, `(objectClass=*)`: entries whose classes a user may not see pass neither.
fn seen(slapd: &Slapd, user: &str, base: &str) -> Option<Tree> {
    let mut client =
        Client::bind(&slapd.ldap_uri(), &format!("uid={user},ou=people,{SUFFIX}"), &format!("{user}-pw"));
    client.search(base, "(objectClass=*)", &["*"]).ok().map(tree)
}

/// What is asked of the tap, and as whom.
#[derive(Debug, Clone)]
struct Question {
    user: &'static str,
    base: String,
    discover_by: &'static str,
    sample_size: u64,
    partitions: u64,
    page_size: u64,
}

impl Question {
    fn random(dns: &[String], rng: &mut Rng) -> Question {
        Question {
            user: *rng.pick(USERS),
            base: if rng.chance(70) { SUFFIX.to_owned() } else { rng.pick(dns).clone() },
            discover_by: *rng.pick(&["ou", "ou", "object_class", "both"]),
            sample_size: *rng.pick(&[1000, 1, 0]),
            partitions: *rng.pick(&[1, 1, 3]),
            page_size: *rng.pick(&[1000, 3]),
        }
    }

    fn config(&self, slapd: &Slapd) -> Value {
        json!({
            "server_url": slapd.ldap_uri(), "base_dn": self.base, "discover_by": self.discover_by,
            "bind_dn": format!("uid={},ou=people,{SUFFIX}", self.user), "bind_password": format!("{}-pw", self.user),
            "discovery_sample_size": self.sample_size, "partitions": self.partitions, "page_size": self.page_size,
        })
    }
}

fn hold(slapd: &Slapd, question: &Question) -> Result<(), Problem> {
    let config = question.config(slapd);
    let run = || Run::tap(&config).arg("--log-format").arg("json");
    let sees = seen(slapd, question.user, &question.base);
    let refused = |output: &Output| check(sees.is_none(), "refused", || told(output));
    let discovered = run().arg("--discover").run();
    no_panic(&discovered);
    if discovered.code != 0 {
        return refused(&discovered);
    }
    let mut catalog = discovered.json();
    for stream in catalog["streams"].as_array_mut().unwrap() {
        stream["metadata"][0]["metadata"]["selected"] = json!(true);
    }
    let output = run().file("--catalog", &catalog).run();
    no_panic(&output);
    if output.code != 0 {
        // It says so: nothing is silent here.
        return Ok(());
    }
    let sees = sees.unwrap_or_default();
    let streams = streams(&output, &catalog)?;
    for of_containers in [true, false] {
        let reads = if of_containers { "ou" } else { "object_class" };
        if question.discover_by == reads || question.discover_by == "both" {
            let of: Vec<&Stream> =
                streams.values().filter(|s| s.is_of_containers() == of_containers).collect();
            balance(&of, &sees, question, &output)?;
        }
    }
    Ok(())
}

fn balance(streams: &[&Stream], sees: &Tree, question: &Question, output: &Output) -> Result<(), Problem> {
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    for stream in streams {
        for record in &stream.records {
            let dn = normalize_dn(record["dn"].as_str().unwrap_or_default());
            let Some(entry) = sees.get(&dn) else {
                return Err(Problem { kind: "entry that the other client does not see", detail: dn });
            };
            *read.entry(dn.clone()).or_default() += 1;
            // A password is octets to everybody.
            for (name, values) in entry.iter().filter(|(name, _)| *name != "userpassword") {
                let Some(value) = record.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v)
                else {
                    // What a sample of one entry did not see is not in the catalog.
                    check(question.sample_size == 1, "property missing", || format!("{dn}: {name}"))?;
                    continue;
                };
                let texts: BTreeSet<Vec<u8>> = match value {
                    Value::Array(all) => {
                        all.iter().filter_map(Value::as_str).map(|t| t.as_bytes().to_vec()).collect()
                    }
                    one => one.as_str().map(|t| t.as_bytes().to_vec()).into_iter().collect(),
                };
                let all = || values.iter().map(|v| shown(v)).collect::<Vec<_>>();
                check(texts == *values, "values", || format!("{dn}: {name}: {value}, but {:?}", all()))?;
            }
        }
    }
    let twice: Vec<&String> = read.iter().filter(|(_, n)| **n > 1).map(|(dn, _)| dn).collect();
    check(twice.is_empty(), "entry twice", || format!("{twice:?}"))?;
    let missing: Vec<&String> = sees.keys().filter(|dn| !read.contains_key(*dn)).collect();
    if missing.is_empty() {
        for stream in streams {
            // Where it cannot know that this is all, it may say so.
            let is_right = if stream.records.is_empty() {
                !stream.is_activated
            } else {
                stream.is_activated || warns(output)
            };
            check(is_right, "ACTIVATE_VERSION", || {
                format!(
                    "{}: {} records, activated: {}\n{}",
                    stream.id,
                    stream.records.len(),
                    stream.is_activated,
                    told(output)
                )
            })?;
        }
        return Ok(());
    }
    let says = warns(output) && streams.iter().all(|s| !s.is_activated);
    check(says, "entries missing", || format!("{missing:?}\n{}", told(output)))
}

/// A server, and what its rules are.
struct Stage {
    slapd: Slapd,
    dns: Vec<String>,
    told: String,
}

fn stage(rng: &mut Rng) -> Stage {
    let grown = grow(rng);
    let rules = rules(&grown.dns, rng);
    let options = SlapdOptions { access: rules.clone(), ..SlapdOptions::with_users() };
    let slapd = Slapd::start(options.seed(grown.ldif.clone()));
    Stage { slapd, dns: grown.dns, told: format!("--- the rules\n{rules}--- the entries\n{}---", grown.ldif) }
}

#[test]
fn what_a_user_may_see_is_read_whatever_is_hidden_around_it() {
    let servers = cases::count(CASES).div_ceil(PER_SERVER);
    cases::run(18_000, servers, |rng| {
        let stage = stage(rng);
        for _ in 0..PER_SERVER {
            let question = Question::random(&stage.dns, rng);
            hold(&stage.slapd, &question).map_err(|problem| {
                let detail = format!("{}\n{}\n{}", problem.detail, question.config(&stage.slapd), stage.told);
                Failure::from(Problem { detail, ..problem })
            })?;
        }
        Ok(())
    });
}
