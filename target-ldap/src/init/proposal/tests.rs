use super::*;

fn stream(name: &str, keys: &[&str], properties: &[(&str, Value)]) -> SchemaMessage {
    let properties: Map<String, Value> =
        properties.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind }))).collect();
    SchemaMessage {
        stream: name.to_owned(),
        schema: json!({"type": "object", "properties": properties}),
        key_properties: keys.iter().map(|key| (*key).to_owned()).collect(),
    }
}

fn proposed(stream: &SchemaMessage, is_active_directory: bool) -> Proposal {
    let schema = Schema::standard();
    let place = Place { schema, is_active_directory, below: "ou=people,dc=x" };
    propose(stream, content(stream), place)
}

fn staff() -> SchemaMessage {
    let text = || json!(["null", "string"]);
    stream(
        "staff",
        &["employee_id"],
        &[
            ("employee_id", json!("integer")),
            ("Login Name", text()),
            ("first_name", text()),
            ("last_name", text()),
            ("e_mail_adress", text()),
            ("Phone", text()),
            ("manager_id", json!("integer")),
            ("active", json!("boolean")),
            ("address", json!(["null", "object"])),
            ("salary", json!("number")),
            ("_sdc_batched_at", text()),
        ],
    )
}

#[test]
fn proposal_maps_people_by_the_usual_names() {
    let proposal = proposed(&staff(), false);
    assert_eq!(
        proposal.rule["attribute_mapping"],
        json!({"employee_id": "employeeNumber", "Login Name": "uid", "first_name": "givenName", "last_name": "sn",
            "Phone": "telephoneNumber", "e_mail_adress": "mail"})
    );
    assert_eq!(proposal.rule["dn_template"], "uid={Login Name},ou=people,dc=x");
    assert_eq!(proposal.rule["match"], "(employeeNumber={employee_id})");
    assert_eq!(proposal.rule["values"], json!({"cn": "{first_name} {last_name}"}));
    assert_eq!(proposal.notes, Vec::<String>::new());
    let guesses: Vec<_> =
        proposal.mapped.iter().filter(|m| m.is_guess).map(|m| m.property.as_str()).collect();
    assert_eq!(guesses, ["e_mail_adress"]);
    let unmapped: Vec<_> = proposal.unmapped.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(unmapped, ["address", "manager_id", "active", "salary"]);
}

#[test]
fn proposal_for_active_directory_has_names_that_differ() {
    let proposal = proposed(&staff(), true);
    assert_eq!(proposal.rule["dn_template"], "CN={first_name} {last_name} ({employee_id}),ou=people,dc=x");
    assert_eq!(proposal.rule["object_classes"], json!(["top", "person", "organizationalPerson", "user"]));
    assert_eq!(proposal.rule["match"], "(employeeID={employee_id})");
}

#[test]
fn proposal_uses_the_key_as_the_user_name_where_there_is_none() {
    let text = || json!("string");
    let people = stream("users", &["id"], &[("id", text()), ("name", text()), ("mail", text())]);
    let proposal = proposed(&people, false);
    assert_eq!(proposal.rule["attribute_mapping"], json!({"name": "cn", "mail": "mail", "id": "uid"}));
    assert_eq!(proposal.rule["dn_template"], "uid={id},ou=people,dc=x");
    assert_eq!(proposal.rule["match"], "(uid={id})");
    assert_eq!(proposal.rule["values"], json!({"sn": "{name}"}));
}

#[test]
fn proposal_says_what_a_rule_still_lacks() {
    let text = || json!("string");
    let groups = stream("teams", &["id"], &[("id", text()), ("name", text())]);
    assert_eq!(content(&groups), Content::Groups);
    let proposal = proposed(&groups, false);
    assert_eq!(proposal.rule["dn_template"], "cn={name},ou=people,dc=x");
    assert!(proposal.rule.get("match").is_none());
    assert!(proposal.notes.iter().any(|note| note.contains("`member`")), "{:?}", proposal.notes);
    let teams = stream("teams", &["name"], &[("name", text()), ("members", json!("array"))]);
    let proposal = proposed(&teams, false);
    assert_eq!(proposal.rule["attribute_mapping"], json!({"name": "cn", "members": "member"}));
    assert_eq!(proposal.rule["match"], "(cn={name})");
    assert_eq!(proposal.notes.len(), 1, "{:?}", proposal.notes);
    assert!(proposal.notes[0].contains("`members` must be DNs"), "{:?}", proposal.notes);
    let logins = stream("accounts", &["a", "b"], &[("a", text()), ("b", text()), ("mail", text())]);
    let proposal = proposed(&logins, false);
    assert!(proposal.rule.get("dn_template").is_none());
    assert!(proposal.notes.iter().any(|note| note.contains("`sn`")), "{:?}", proposal.notes);
}

#[test]
fn proposal_recognizes_entries_and_what_is_neither_people_nor_groups() {
    let text = || json!("string");
    let entries = stream("people", &["dn"], &[("dn", text()), ("objectClass", json!("array"))]);
    assert_eq!(content(&entries), Content::Entries);
    let orders = stream("orders", &["id"], &[("id", text()), ("total", json!("number"))]);
    assert_eq!(content(&orders), Content::Unknown);
    assert_eq!(content(&staff()), Content::People);
}
