//! Times on Active Directory: Samba accepts GeneralizedTime only with a fraction, as Active Directory writes it.

use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use serde_json::json;

use crate::support::{target_config, with};

#[test]
fn a_time_is_written_in_active_directorys_form_and_compared_by_value() {
    let samba = Samba::start("");
    let base = format!("CN=Users,{}", samba.suffix());
    let text = json!({"type": ["null", "string"]});
    let rule = json!({"dn_template": format!("CN={{id}},{base}"), "object_classes": ["user"],
        "attribute_mapping": {"id": "description", "when": "msTSExpireDate"}});
    let config = with(&target_config(&samba), &json!({"tls_verify": false, "mapping_rules": {"p": rule}}));
    let run = |when: &str| {
        Run::target(&config)
            .messages(&[
                json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {"id": text, "when": text}}}),
                json!({"type": "RECORD", "stream": "p", "record": {"id": "who", "when": when}}),
            ])
            .run()
            .exits(0)
    };
    run("2030-01-01T10:00:00Z").counts(&[("added", 1)]);
    let tree = samba.dump_below(&base, &["msTSExpireDate"]);
    let (_, entry) = tree.iter().find(|(dn, _)| dn.to_lowercase().starts_with("cn=who,")).unwrap();
    assert_eq!(entry["mstsexpiredate"], [b"20300101100000.0Z".to_vec()].into());
    run("2030-01-01T10:00:00Z").counts(&[("unchanged", 1)]);
    run("2031-01-01 10:00:00+01").counts(&[("modified", 1)]);
    run("2031-01-01T09:00:00Z").counts(&[("unchanged", 1)]);
}
