use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;

use ldap_directory::ldif::{LdifDirectory, LdifFormat};
use ldap_directory::{Access, Directory, Scope, SearchRequest};
use proptest::prelude::*;
use serde_json::{Value, json};
use singer_common::operations::signals::Stop;
use singer_common::singer::writer::SingerWriter;

use super::*;
use crate::config::TargetConfig;
use crate::write::destination::Destination;
use crate::write::protection::Protection;

const NAMES: usize = 6;

fn dn(name: usize) -> String {
    // Two units, with names in one of them.
    format!("uid=n{},ou=u{},dc=x", name / 2, name % 2)
}

fn record(id: usize, name: usize) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": {"id": id.to_string(), "uid": format!("n{}", name / 2), "ou": format!("u{}", name % 2)}})
}

fn deletion(id: usize) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": {"id": id.to_string(), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn run(
    there: &BTreeMap<usize, usize>,
    messages: &[Value],
    in_flight: usize,
) -> Result<BTreeMap<usize, String>, LoadError> {
    let mut ldif = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned();
    for ou in ["u0", "u1"] {
        write!(ldif, "dn: ou={ou},dc=x\nobjectClass: organizationalUnit\nou: {ou}\n\n").unwrap();
    }
    for (id, name) in there {
        let (dn, uid) = (dn(*name), name / 2);
        write!(
            ldif,
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: n{uid}\ncn: x\nsn: x\nemployeeNumber: {id}\n\n"
        )
        .unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.ldif");
    std::fs::write(&path, ldif).unwrap();
    let settings = json!({"server_url": format!("ldif:{}", path.display()), "max_in_flight": in_flight, "mapping_rules": {"p": {
        "dn_template": "uid={uid},ou={ou},dc=x", "object_classes": ["inetOrgPerson"], "match": "(employeeNumber={id})",
        "attribute_mapping": {"id": "employeeNumber", "uid": "uid"}, "values": {"cn": "x", "sn": "x"}}}});
    let file = dir.path().join("config.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let resolved = crate::settings::TABLE.resolve(&[file.display().to_string()], &BTreeMap::new()).unwrap();
    let config = TargetConfig::from_settings(&resolved.values, &mut Vec::new()).unwrap();
    let texts = json!({"type": ["string", "null"]});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {"id": texts, "uid": texts, "ou": texts}}});
    let mut input = format!("{schema}\n");
    for message in messages {
        writeln!(input, "{message}").unwrap();
    }
    let directory = Directory::Ldif(LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap());
    let destination = Destination::new(directory.clone(), Protection::none());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut writer = SingerWriter::new(Vec::new());
        let load = Load::new(&config, &destination, &mut writer, Stop::never(), None, false);
        load.run(Box::new(Cursor::new(input.into_bytes()))).await?;
        let mut search = directory
            .search(SearchRequest::new("dc=x", Scope::Subtree, "(employeeNumber=*)", &["employeeNumber"]))
            .await
            .unwrap();
        let mut found = BTreeMap::new();
        while let Some(entry) = search.next_entry().await.unwrap() {
            let id = entry.first_text("employeeNumber").unwrap().parse().unwrap();
            assert!(found.insert(id, entry.dn.clone()).is_none(), "{id} is there twice");
        }
        Ok(found)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// For every exchange of DNs, in every order of the records, each entry ends with its own DN.
    #[test]
    fn names_change_hands(
        before in Just((0..NAMES).collect::<Vec<_>>()).prop_shuffle(),
        after in Just((0..NAMES).collect::<Vec<_>>()).prop_shuffle(),
        fates in proptest::collection::vec(0..4_u8, NAMES),
        order in Just((0..NAMES).collect::<Vec<_>>()).prop_shuffle(),
        in_flight in 1..8_usize,
    ) {
        let mut there = BTreeMap::new();
        let mut wanted = BTreeMap::new();
        for id in 0..NAMES {
            // 0: added; 1: deleted; else: kept under another DN.
            if fates[id] != 0 {
                there.insert(id, before[id]);
            }
            if fates[id] != 1 {
                wanted.insert(id, dn(after[id]));
            }
        }
        let messages: Vec<Value> = order
            .iter()
            .map(|id| if fates[*id] == 1 { deletion(*id) } else { record(*id, after[*id]) })
            .collect();
        let found = run(&there, &messages, in_flight).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(found, wanted);
    }
}
