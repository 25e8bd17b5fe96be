//! Replication methods and keys that a server does not have.

use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::repeated_runs::{Method, Mirror};
use super::server_kind::{Directory, Kind, line};
use crate::support::{discover, no_panic, tap_config, with};

#[track_caller]
fn is_refused(directory: &Directory, method: Method, instead: &[&str]) {
    let mirror = Mirror::new(directory, directory.suffix(), method);
    let output = mirror.next_run().run().exits(2);
    no_panic(&output);
    assert!(output.of_type("RECORD").is_empty());
    let error =
        output.stderr.about(&json!({"level": "error"})).pop().unwrap_or_else(|| panic!("{}", output.stderr));
    assert!(error["setting"].as_str().unwrap().contains("replication_"), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(instead.iter().all(|word| message.contains(word)), "{method:?}: no {instead:?} in: {message}");
}

#[test]
fn the_keys_of_other_servers() {
    let openldap = Directory::start(Kind::OpenLdap);
    for key in ["uSNChanged", "entryusn", "noSuchAttribute"] {
        is_refused(&openldap, Method::By(key), &[key, "modifyTimestamp", "entryCSN"]);
    }
    // There is no order among photographs.
    is_refused(&openldap, Method::By("jpegPhoto"), &["jpegPhoto", "modifyTimestamp"]);
    let ds389 = Directory::start(Kind::Ds389);
    for key in ["uSNChanged", "entryCSN"] {
        is_refused(&ds389, Method::By(key), &[key, "modifyTimestamp", "entryusn"]);
    }
}

#[test]
fn log_based_where_there_is_no_log() {
    let options = SlapdOptions { syncprov: String::new(), ..SlapdOptions::default() };
    let directory = Directory::OpenLdap(Slapd::start(options));
    is_refused(&directory, Method::Log, &["LOG_BASED", "FULL_TABLE", "INCREMENTAL"]);
    // In the catalog as well.
    let config = tap_config(&directory);
    let mut catalog = discover(&config);
    catalog["streams"][0]["metadata"][0]["metadata"]["replication-method"] = json!("LOG_BASED");
    let run = ldap_tests::run::Run::tap(&config).file("--catalog", &catalog);
    let output = run.run().exits(2).reports_setting("replication_method").says("INCREMENTAL");
    no_panic(&output);
    assert!(output.of_type("RECORD").is_empty());
}

#[test]
fn following_without_a_log_is_refused_before_anything_is_read() {
    let directory = Directory::start(Kind::OpenLdap);
    for stream in [json!({"name": "all"}), json!({"name": "all", "replication_method": "INCREMENTAL"})] {
        let config = with(&tap_config(&directory), &json!({"follow": true, "schemas": [stream]}));
        let output = ldap_tests::run::Run::tap(&config).run().exits(2).reports_setting("follow");
        no_panic(&output);
        assert!(output.messages.is_empty(), "{:?}", output.messages);
    }
}

#[test]
fn log_based_for_an_account_that_sees_no_deletions() {
    let directory = Directory::start(Kind::ActiveDirectory);
    let dn = format!("CN=reader,CN=Users,{}", directory.suffix());
    let quoted: Vec<u8> = "\"Reader-pw-1\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let account = "objectClass: user\nsAMAccountName: reader\nuserAccountControl: 512\n";
    directory.ldapadd(line("dn", &dn) + account + &line("unicodePwd", quoted));
    // It may not DirSync. The container of the tombstones it finds, but neither what is written there nor what lies
    // there: LOG_BASED would miss deletions without a word.
    let mirror = Mirror::new(&directory, &format!("CN=Users,{}", directory.suffix()), Method::Log)
        .configured(&json!({"bind_dn": dn, "bind_password": "Reader-pw-1"}));
    let output = mirror.next_run().run().exits(2).reports_setting("replication_method").says("INCREMENTAL");
    no_panic(&output);
    assert!(output.of_type("RECORD").is_empty());
}
