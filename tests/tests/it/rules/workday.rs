//! The mappings that Microsoft publishes as common for Workday (Microsoft Entra ID, "Workday expression mapping functions"), one by one:
//! what each makes of an invented worker, by a rule or a stream map. 34 of 37 can be written.
//!
//! The three that cannot make a random identifier: each run would make another one. `next` and `unique` give identifiers that stay.
//! The candidates of `SelectUniqueValue` are given one by one.

use ldap_tests::ldif::parse_file;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::with;

/// A mapping: its number in the order of the page, what a rule and a stream map say, the worker, and the values of attributes. Without any,
/// there is no entry.
struct Row {
    number: u32,
    rule: Value,
    maps: Value,
    worker: Value,
    expected: Value,
}

fn row(number: u32, rule: Value, maps: Value, worker: Value, expected: Value) -> Row {
    Row { number, rule, maps, worker, expected }
}

/// A mapping by a template of one attribute.
fn template(number: u32, attribute: &str, template: &str, worker: Value, expected: &str) -> Row {
    row(number, json!({"values": {attribute: template}}), Value::Null, worker, json!({attribute: [expected]}))
}

/// A mapping by an expression.
fn expression(number: u32, attribute: &str, expression: &str, worker: Value, expected: &str) -> Row {
    row(
        number,
        json!({"attribute_mapping": {"made": attribute}}),
        json!({"made": expression}),
        worker,
        json!({attribute: [expected]}),
    )
}

/// Texts: numbers 1 to 11.
fn texts() -> Vec<Row> {
    let name = |first: &str, last: &str| json!({"First": first, "Last": last});
    let phone = |number: &str| json!({"Phone": number});
    let plain = "ascii|replace:/\\s+//|lower";
    let address = format!("{{First|{plain}}}.{{Last|{plain}}}");
    let strict = "ascii|replace:/[\\s\"',]+//|lower";
    let domain = "{'Fabrikam': 'fabrikam.com', 'Woodgrove': 'woodgrove.com'}.get(Company, 'contoso.com')";
    let by_company = format!(
        "to_ascii(re.sub('\\\\s+', '', f\"{{First[0:1] if Company == 'Woodgrove' else First}}.{{Last}}\")).lower() + '@' + {domain}"
    );
    vec![
        template(
            1,
            "telephoneNumber",
            "{Phone|replace:/[()\\s-]+//}",
            phone("+1 (555) 123-4567"),
            "+15551234567",
        ),
        template(
            2,
            "sn",
            "{Name|replace:/([a-zA-Z]+ )([a-zA-Z]+)/$2/}",
            json!({"Name": "John Smith"}),
            "Smith",
        ),
        template(3, "employeeNumber", "{WorkerID|replace:/^0+//}", json!({"WorkerID": "00012345"}), "12345"),
        template(
            4,
            "sn",
            "{Suffix|replace:/(.*)_(.*)_(.*)[0-9]/$2 $3/} {Last}",
            json!({"Suffix": "NLD_Van_der3", "Last": "Hof"}),
            "Van der Hof",
        ),
        template(5, "o", "{Company|title}", json!({"Company": "st john's hospital"}), "St John's Hospital"),
        template(6, "uid", &address, name("José", "García-López"), "jose.garcia-lopez"),
        expression(
            7,
            "displayName",
            "f'{Last},{First}' if Country in ['HU', 'JP', 'KR'] else f'{First} {Last}'",
            json!({"Country": "JP", "First": "Hiroshi", "Last": "Tanaka"}),
            "Tanaka,Hiroshi",
        ),
        template(
            8,
            "mail",
            &format!("{address}@contoso.com"),
            name("María", "José González"),
            "maria.josegonzalez@contoso.com",
        ),
        template(
            9,
            "mail",
            &format!("{{First|{strict}|left:2}}.{{Last|{strict}}}@contoso.com"),
            name("Mary-Ann", "O'Connor"),
            "ma.oconnor@contoso.com",
        ),
        expression(
            10,
            "mail",
            &by_company,
            json!({"Company": "Woodgrove", "First": "Sarah", "Last": "Johnson"}),
            "s.johnson@woodgrove.com",
        ),
        row(
            11,
            json!({"values": {"proxyAddresses": [
                format!("smtp:{address}@contoso.mail.example"), format!("smtp:{address}@contoso.example"),
                format!("SMTP:{address}@contoso.com")]}}),
            Value::Null,
            name("Michael", "Brown"),
            json!({"proxyAddresses": ["smtp:michael.brown@contoso.mail.example", "smtp:michael.brown@contoso.example",
                "SMTP:michael.brown@contoso.com"]}),
        ),
    ]
}

/// Numbers of telephones: 12 to 16.
fn telephones() -> Vec<Row> {
    let phone = |number: &str| json!({"Phone": number});
    let codes = "{'43': 'AUT', '1': 'USA', '49': 'GER', '91': 'IND'}";
    vec![
        template(
            12,
            "telephoneNumber",
            "{Phone|replace:/^\\+\\d+ //|replace:/[()\\s-]+//}",
            phone("+1 737-626-8331"),
            "7376268331",
        ),
        expression(
            13,
            "c",
            "{'1': 'USA', '44': 'GBR', '49': 'DEU'}.get(re.sub(r'\\+(\\d+) .*', r'\\1', Phone), 'USA')",
            phone("+44 20 7946 0958"),
            "GBR",
        ),
        expression(
            14,
            "c",
            &format!("{codes}.get(re.sub(r'\\+(49|43|91|1).*', r'\\1', Phone))"),
            phone("+919876543210"),
            "IND",
        ),
        template(
            15,
            "telephoneNumber",
            "{Phone|replace:/\\+\\d+ (.*) x.*/$1/|replace:/[()\\s-]+//}",
            phone("+1 (206) 291-8163 x8125"),
            "2062918163",
        ),
        template(
            16,
            "description",
            "{Phone|replace:/.* x(.*)/$1/}",
            phone("+1 (206) 291-8163 x8125"),
            "8125",
        ),
    ]
}

/// The state of accounts: numbers 17 to 20 as Active Directory has it, 21 to 23 as Entra ID has it.
fn states() -> Vec<Row> {
    let days = "days_between(today(), StatusHireDate)";
    let rehired = format!("Active == '1' and (StatusRehire != '1' or {days} <= 0)");
    let soon = format!("Active == '1' and {days} <= 14");
    let kept = "StatusTerminated != '1' and StatusHireRescinded != '1' and Active == '1' and \
                days_between(today(), StatusHireDate or '9999-01-01') < 7";
    let is = |what: &str, [yes, no]: [&str; 2]| format!("'{yes}' if {what} else '{no}'");
    let (disabled, enabled) = (["False", "True"], ["True", "False"]);
    let worker =
        |rehire: &str, date: &str| json!({"Active": "1", "StatusRehire": rehire, "StatusHireDate": date});
    let rescinded =
        json!({"StatusTerminated": "0", "StatusHireRescinded": "0", "Active": "1", "StatusHireDate": null});
    let active = json!({"Active": "0"});
    vec![
        expression(17, "description", &is("Active == '1'", disabled), active.clone(), "True"),
        expression(18, "description", &is(&rehired, disabled), worker("1", "2025-08-15"), "True"),
        expression(19, "description", &is(&soon, disabled), worker("0", "2025-08-10"), "False"),
        expression(20, "description", &is(kept, disabled), rescinded, "True"),
        expression(21, "description", &is("Active == '1'", enabled), active, "False"),
        expression(22, "description", &is(&rehired, enabled), worker("1", "2025-07-15"), "True"),
        expression(23, "description", &is(&soon, enabled), worker("0", "2025-09-15"), "False"),
    ]
}

/// Dates, places and names: numbers 24 to 37 without the random identifiers, 31 to 33.
fn others() -> Vec<Row> {
    let hired = |date: &str| json!({"StatusHireDate": date, "Department": "Engineering"});
    let mapped = json!({"attribute_mapping": {"Department": "departmentNumber"}});
    let cities = "{'Dallas': 'OU=Dallas,OU=Users,DC=x', 'Seattle': 'OU=Seattle,OU=Users,DC=x'}.get(City, 'OU=Default,OU=Users,DC=x')";
    let left = "days_between(today(), LastDay or '9999-12-31') <= 0";
    let parent = json!({"dn_template": "cn={id},{parent|dn}"});
    let units = "cn={id}{?,ou={org}?}{?,ou={cost}?}{?,ou={land}?},ou=Users,dc=x";
    let name =
        |first: &str, middle: &str, last: &str| json!({"First": first, "Middle": middle, "Last": last});
    let account = "ascii|replace:/[\\s\\/\\\\\\[\\]:;|=,+*?<>]//";
    vec![
        template(
            24,
            "accountExpires",
            "{End|date:%Y-%m-%d}T23:59:59-08:00",
            json!({"End": "2025-12-31-08:00"}),
            "134117279990000000",
        ),
        template(
            25,
            "accountExpires",
            "{StatusHireDate|add:5y|date:%Y-%m-%d}T23:59:59-05:00",
            hired("2025-01-15"),
            "135392435990000000",
        ),
        row(
            26,
            mapped.clone(),
            json!({"__filter__": "days_between(StatusHireDate, today()) >= 0"}),
            hired("2025-07-15"),
            json!({"departmentNumber": ["Engineering"]}),
        ),
        row(
            27,
            mapped,
            json!({"__filter__": "days_between(today(), StatusHireDate) <= 14"}),
            hired("2025-09-15"),
            json!({}),
        ),
        row(
            28,
            parent.clone(),
            json!({"parent": cities}),
            json!({"City": "Seattle"}),
            json!({"dn": "cn=r28,ou=Seattle,ou=Users,dc=x"}),
        ),
        row(
            29,
            json!({"dn_template": units}),
            json!({"org": "{'Engineering': 'Engineering'}.get(Org)", "cost": "{'Green': 'Green Energy'}.get(Cost)",
                "land": "{'US': 'USA', 'UK': 'UK'}.get(Land)"}),
            json!({"Org": "Engineering", "Cost": "Sales", "Land": "US"}),
            json!({"dn": "cn=r29,ou=Engineering,ou=USA,ou=Users,dc=x"}),
        ),
        row(
            30,
            parent,
            json!({"parent": format!("'OU=Leavers,OU=Users,DC=x' if {left} else {cities}")}),
            json!({"City": "Dallas", "LastDay": "2025-07-25"}),
            json!({"dn": "cn=r30,ou=Leavers,ou=Users,dc=x"}),
        ),
        template(34, "displayName", "{Last}, {First}", name("John", "", "Smith"), "Smith, John"),
        template(
            35,
            "displayName",
            "{Last},{First}{? {Middle|left:1}?}-{WorkerID}",
            with(&name("Sarah", "Elizabeth", "Johnson"), &json!({"WorkerID": "12345"})),
            "Johnson,Sarah E-12345",
        ),
        template(
            36,
            "displayName",
            "{First|ascii}{? {Middle|ascii|left:1}?} {Last|ascii}",
            name("José", "Antonio", "García"),
            "Jose A Garcia",
        ),
        template(
            37,
            "sAMAccountName",
            &format!("{{First|{account}|left:1|lower}}{{Last|{account}|lower|left:19|replace:/\\.*$//}}"),
            name("María José", "", "González-López"),
            "mgonzalez-lopez",
        ),
    ]
}

#[test]
fn what_entra_maps_of_workday_can_be_written_in_34_of_37_cases() {
    let rows: Vec<Row> = texts().into_iter().chain(telephones()).chain(states()).chain(others()).collect();
    assert_eq!(rows.len(), 34);
    let numbers: Vec<u32> = rows.iter().map(|row| row.number).collect();
    let expected: Vec<u32> = (1..=37).filter(|n| !(31..=33).contains(n)).collect();
    assert_eq!(numbers, expected, "each once, but for the random identifiers");
    let dir = scratch();
    let path = dir.path().join("d.ldif");
    let (mut rules, mut maps) = (json!({}), json!({}));
    let mut messages = Vec::new();
    for row in &rows {
        let stream = format!("r{:02}", row.number);
        let rule = json!({"dn_template": "cn={id},ou=Users,dc=x", "object_classes": ["device"]});
        rules[&stream] = with(&rule, &row.rule);
        maps[&stream] = row.maps.clone();
        if row.maps.is_null() {
            maps.as_object_mut().unwrap().remove(&stream);
        }
        let mut worker = row.worker.clone();
        worker["id"] = json!(stream);
        let properties: serde_json::Map<String, Value> =
            worker.as_object().unwrap().keys().map(|name| (name.clone(), json!({}))).collect();
        messages.push(json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"],
            "schema": {"type": "object", "properties": properties}}));
        messages.push(json!({"type": "RECORD", "stream": stream, "record": worker}));
    }
    let config = json!({"server_url": format!("ldif:{}", path.display()), "today": "2025-07-30", "mapping_rules": rules,
        "stream_maps": maps, "create_parents": true});
    Run::target(&config).messages(&messages).run().succeeds();
    let tree = parse_file(&path);
    let mut wrong = Vec::new();
    for row in &rows {
        let id = format!("cn=r{:02},", row.number);
        let found = tree.iter().find(|(dn, _)| dn.starts_with(&id));
        let expected = row.expected.as_object().unwrap();
        assert_eq!(found.is_some(), !expected.is_empty(), "{}", row.number);
        let Some((dn, entry)) = found else { continue };
        for (attribute, values) in expected {
            let made: Vec<String> = if attribute == "dn" {
                vec![dn.clone()]
            } else {
                let values = entry.get(&attribute.to_lowercase()).cloned().unwrap_or_default();
                values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
            };
            let mut values: Vec<String> = match values {
                Value::String(dn) => vec![dn.to_lowercase()],
                values => serde_json::from_value(values.clone()).unwrap(),
            };
            values.sort();
            let made: Vec<String> =
                if attribute == "dn" { made.iter().map(|dn| dn.to_lowercase()).collect() } else { made };
            if made != values {
                wrong.push(format!("{} {attribute}: {made:?}, expected {values:?}", row.number));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let before = std::fs::read(&path).unwrap();
    Run::target(&config).messages(&messages).run().succeeds().counts(&[("unchanged", 33)]);
    assert_eq!(std::fs::read(&path).unwrap(), before, "the second run changes nothing");
}
