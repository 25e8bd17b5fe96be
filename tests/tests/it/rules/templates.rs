//! Templates: optional parts, DN-valued attributes, removal of values.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{BASE, File, record, schema, state};
use crate::support::{done, target_config, with};

#[test]
fn what_a_template_no_longer_gives_a_value_is_removed_and_what_is_not_known_is_left() {
    let rule = json!({"values": {"displayName": "{first} {middle} {last}", "manager": "{boss}", "title": "{job}", "description": "{job}",
        "givenName": "{first}{middle|prefix: }", "initials": "{middle|default:}"}, "policies": {"title": "keep", "description": "create_only"}});
    let file = File::new(&rule, &[]);
    let text = json!({"type": ["null", "string"]});
    let schema =
        schema(&json!({"id": text, "first": text, "middle": text, "last": text, "boss": text, "job": text}));
    let run = |fields: &Value| {
        let fields = with(&json!({"id": "a"}), fields);
        done(Run::target(&file.config()).messages(&[schema.clone(), record(&fields), state()]).run());
    };
    run(
        &json!({"first": "Ann", "middle": "B", "last": "Old", "boss": format!("uid=x,{BASE}"), "job": "Clerk"}),
    );
    assert_eq!(file.text("a", "displayname").as_deref(), Some("Ann B Old"));
    assert_eq!(file.text("a", "givenname").as_deref(), Some("Ann B"));
    assert_eq!(file.text("a", "initials").as_deref(), Some("B"));
    // Not known is not the same as empty.
    run(&json!({"last": "Newer"}));
    assert_eq!(file.text("a", "displayname").as_deref(), Some("Ann B Old"));
    assert_eq!(file.text("a", "manager"), Some(format!("uid=x,{BASE}")));
    assert_eq!(file.text("a", "initials").as_deref(), Some("B"));
    let all = file.tree().len();
    let mut fields = record(&json!({"id": "a", "first": "Ann", "last": "New"}));
    for name in ["middle", "boss", "job"] {
        fields["record"][name] = Value::Null;
    }
    done(Run::target(&file.config()).messages(&[schema.clone(), fields, state()]).run());
    assert_eq!(file.text("a", "displayname"), None, "a part that is needed is empty");
    assert_eq!(file.text("a", "manager"), None);
    assert_eq!(file.text("a", "givenname").as_deref(), Some("Ann"), "a part that is not needed is left out");
    assert_eq!(file.text("a", "initials"), None);
    assert_eq!(file.text("a", "title").as_deref(), Some("Clerk"), "its policy is keep");
    assert_eq!(file.text("a", "description").as_deref(), Some("Clerk"), "its policy is create_only");
    assert_eq!(file.tree().len(), all);
}

#[test]
fn optional_parts_bring_their_separators() {
    let rule = json!({"values": {"displayName": "{first} {middle|suffix: |default:}{last}{title|prefix:, |default:}"}});
    let file = File::new(&rule, &[]);
    let text = json!({"type": ["null", "string"]});
    let schema = schema(&json!({"id": text, "first": text, "middle": text, "last": text, "title": text}));
    let messages = [
        schema,
        record(&json!({"id": "a", "first": "Ann", "middle": "B", "last": "Old", "title": "PhD"})),
        record(&json!({"id": "b", "first": "Ann", "middle": null, "last": "Old", "title": ""})),
        record(&json!({"id": "c", "first": "Ann", "last": "Old"})),
        state(),
    ];
    done(Run::target(&file.config()).messages(&messages).run());
    assert_eq!(file.text("a", "displayname").as_deref(), Some("Ann B Old, PhD"));
    for id in ["b", "c"] {
        assert_eq!(file.text(id, "displayname").as_deref(), Some("Ann Old"), "{id}");
    }
}

/// Values that would be another name than the one that the template says.
const NAMES: [&str; 6] = ["root,ou=admins", "Lovelace, Ada", "a+cn=b", "x\\", "#x", "b#'0101'B"];

#[test]
fn a_template_of_a_dn_valued_attribute_escapes_its_values() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let rule = json!({"dn_template": "cn={id},ou=t,dc=example,dc=test", "object_classes": ["groupOfNames"],
        "attribute_mapping": {"id": "cn"}, "values": {"member": "cn={name},ou=t,dc=example,dc=test", "owner": "{boss}",
        "description": "cn={name|escape_dn},dc=x"}});
    let text = json!({"type": ["null", "string"]});
    let schema = schema(&json!({"id": text, "name": text, "boss": text}));
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule}}));
    let mut messages = vec![schema];
    messages.extend(NAMES.iter().enumerate().map(|(n, name)| {
        record(&json!({"id": format!("g{n}"), "name": name, "boss": format!("uid=alice,{BASE}")}))
    }));
    messages.push(state());
    done(Run::target(&config).messages(&messages).run());
    let tree = slapd.dump();
    for (n, name) in NAMES.iter().enumerate() {
        let group = &tree[&format!("cn=g{n},ou=t,dc=example,dc=test")];
        let member = String::from_utf8(group["member"].first().unwrap().clone()).unwrap();
        let values = ldap_tests::ldif::rdn_values(&ldap_tests::ldif::normalize_dn(&member));
        assert_eq!(values.values().collect::<Vec<_>>(), [&name.to_lowercase()], "{member}");
        assert_eq!(
            ldap_tests::ldif::parent(&ldap_tests::ldif::normalize_dn(&member)),
            "ou=t,dc=example,dc=test"
        );
        assert_eq!(group["owner"].first().unwrap(), format!("uid=alice,{BASE}").as_bytes());
        let plain = String::from_utf8(group["description"].first().unwrap().clone()).unwrap();
        assert_eq!(ldap_tests::ldif::parent(&plain), "dc=x", "{plain}");
    }
}

#[test]
fn a_single_placeholder_is_a_whole_dn_and_has_to_be_one() {
    let file = File::new(&json!({"values": {"manager": "{boss}"}}), &["a", "b"]);
    let text = json!({"type": ["null", "string"]});
    let messages = [
        schema(&json!({"id": text, "last": text, "boss": text})),
        record(&json!({"id": "a", "last": "A", "boss": "cn=x\\,y,dc=z"})),
        record(&json!({"id": "b", "last": "B", "boss": "Lovelace, Ada"})),
        state(),
    ];
    Run::target(&file.skipping()).messages(&messages).run().exits(4);
    assert_eq!(file.text("a", "manager").as_deref(), Some("cn=x\\,y,dc=z"));
    assert_eq!(file.rejected().len(), 1);
    // What can never be a DN is the rule's fault.
    for template in ["{first} {last}", "uid={id},{last}", "nobody"] {
        let file = File::new(&json!({"values": {"manager": template}}), &[]);
        let output = Run::target(&file.config())
            .messages(&messages)
            .run()
            .exits(2)
            .reports_setting("mapping_rules.p.values.manager");
        assert!(output.stdout.is_empty());
    }
}
