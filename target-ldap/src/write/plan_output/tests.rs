//! Unit tests.

use std::sync::Arc;

use ldap_directory::change::ModificationKind;

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn plan(format: PlanFormat) -> String {
    let sink = Sink::default();
    let plan = PlanOutput::new(format, false, Box::new(sink.clone()));
    let values = |v: &[&[u8]]| v.iter().map(|v| v.to_vec()).collect::<Vec<_>>();
    let attribute = |n: &str, v: &[&[u8]]| Attribute::new(n, values(v));
    let step = |kind, n: &str, v: &[&[u8]]| Modification::new(kind, n, values(v));
    let changes = [
        Change::Add(Entry {
            dn: "cn=a,dc=x".into(),
            attributes: vec![
                attribute("cn", &[b"a"]),
                attribute("userPassword", &[b"hunter2"]),
                attribute("x", &[b"\xff"]),
            ],
        }),
        Change::Modify {
            dn: "cn=b,dc=x".into(),
            changes: vec![
                step(ModificationKind::Add, "mail", &[b"one@x.test"]),
                step(ModificationKind::Delete, "sn", &[]),
                step(ModificationKind::Replace, "userPassword", &[b"hunter2"]),
            ],
        },
        Change::Modify {
            dn: "cn=c,dc=x".into(),
            changes: vec![step(ModificationKind::Replace, "userPassword", &[b"hunter2"])],
        },
        Change::Rename {
            dn: "cn=d,dc=x".into(),
            new_rdn: "cn=e".into(),
            delete_old_rdn: true,
            new_superior: None,
        },
        Change::Delete { dn: "cn=f,dc=x".into() },
    ];
    let label =
        ChangeLabel { number: 1, stream: "users".into(), line: 3, record: "id=7".into(), is_leaving: false };
    for change in &changes {
        plan.show(&PlannedChange { change, before: None, relaxed: false, label: Some(&label) }).unwrap();
    }
    plan.show_password("cn=g,dc=x", Some(&label)).unwrap();
    plan.finish(true).unwrap();
    let octets = sink.0.lock().unwrap().clone();
    String::from_utf8(octets).unwrap()
}

#[test]
fn no_format_shows_a_password() {
    for format in [PlanFormat::Ldif, PlanFormat::Diff, PlanFormat::Json, PlanFormat::Html] {
        let text = plan(format);
        assert!(!text.contains("hunter2") && text.contains(HIDDEN), "{text}");
        assert!(!text.contains("aHVudGVyMg"), "{text}");
    }
}

#[test]
fn a_plan_is_ldif_that_ldapmodify_takes() {
    let text = plan(PlanFormat::Ldif);
    let reader = ldap_directory::ldif::reader::LdifReader::new(text.as_bytes());
    let records: Vec<_> = reader.map(|r| r.unwrap_or_else(|e| panic!("{e}\n{text}"))).collect();
    assert_eq!(records.len(), 4, "a change of nothing but a password is only a comment:\n{text}");
    assert_eq!(text.matches("# users, line 3: id=7\n").count(), 6);
    assert!(
        text.contains("# password: (not shown), by Password Modify, RFC 3062\n# (of cn=g,dc=x,"),
        "{text}"
    );
}

#[test]
fn json_has_an_object_a_line() {
    let text = plan(PlanFormat::Json);
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["attributes"]["x"], json!([{"base64": "/w=="}]));
    assert_eq!(
        lines[1]["changes"][0],
        json!({"operation": "add", "attribute": "mail", "values": ["one@x.test"]})
    );
    assert_eq!(lines[3]["new_rdn"], "cn=e");
    assert_eq!(lines[5]["operation"], "password");
}

#[test]
fn a_diff_is_for_people() {
    let text = plan(PlanFormat::Diff);
    assert!(text.contains("+ cn=a,dc=x\n    + cn: a\n"), "{text}");
    assert!(text.contains("~ cn=b,dc=x\n    + mail: one@x.test\n    - sn: (all values)\n"), "{text}");
    assert!(text.contains("~ cn=g,dc=x\n    ~ password: (not shown)"), "{text}");
    assert!(text.contains("> cn=d,dc=x\n    becomes cn=e\n"), "{text}");
}
