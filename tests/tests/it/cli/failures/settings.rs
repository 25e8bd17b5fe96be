//! Settings and flags that both executables have.

use serde_json::json;

use super::{Failure, tap, target};

pub(super) fn failures() -> Vec<Failure> {
    vec![
        tap("a misspelt setting", json!({"bind_pasword": "x"})).exits(0).setting("bind_pasword").near("bind_password"),
        target("a misspelt setting", json!({"maping_rules": {}})).exits(0).setting("maping_rules").near("mapping_rules"),
        target("a misspelt limit", json!({"max_delets": 5})).setting("max_delets").near("max_deletes"),
        target("a misspelt dry run", json!({"dryrun": true})).setting("dryrun").near("dry_run"),
        tap("a text where a number goes", json!({"page_size": "many"})).setting("page_size"),
        tap("a number out of range", json!({"page_size": -1})).setting("page_size"),
        tap("a text where a boolean goes", json!({"tls_verify": "perhaps"})).setting("tls_verify"),
        tap("a setting under two names", json!({"schemas": [{"name": "a"}], "streams": [{"name": "b"}]})).setting("streams"),
        tap("no server", json!({"server_url": null})).setting("server_url"),
        target("no server", json!({"server_url": null})).setting("server_url"),
        tap("an unknown scheme", json!({"server_url": "ldpa://localhost"})).setting("server_url"),
        tap("a file that is not there", json!({"server_url": "ldif:{dir}/none.ldif"})).setting("server_url"),
        tap("a folder for a file", json!({"server_url": "ldif:{dir}"})).setting("server_url"),
        target("a device for a file", json!({"server_url": "ldif:/dev/full"})).setting("server_url"),
        tap("no such configuration", json!({})).args(&["--config", "{dir}/none.json"]).setting("--config"),
        tap("a configuration in YAML", json!({}))
            .with_file("c.yml", "server_url: ldap://localhost\npage_size: 5\n")
            .args(&["--config", "{dir}/c.yml"])
            .setting("--config"),
        tap("a configuration that is cut off", json!({}))
            .with_file("c.json", "{\"server_url\": \"ldap://local")
            .args(&["--config", "{dir}/c.json"])
            .setting("--config"),
        tap("a configuration that is a list", json!({}))
            .with_file("c.json", "[]")
            .args(&["--config", "{dir}/c.json"])
            .setting("--config"),
        tap("a user without a password", json!({"server_url": "ldap://127.0.0.1:1", "bind_dn": "cn=x"})).setting("bind_password"),
        tap("a password without a user", json!({"server_url": "ldap://127.0.0.1:1", "auth_method": "simple", "bind_password": "x"}))
            .setting("bind_dn"),
        tap("a password's file that is not there", json!({"server_url": "ldap://127.0.0.1:1", "bind_dn": "cn=x", "bind_password_file": "{dir}/none"}))
            .setting("bind_password_file"),
        tap("a password twice", json!({"server_url": "ldap://127.0.0.1:1", "bind_dn": "cn=x", "bind_password": "x", "bind_password_file": "{dir}/tree.ldif"}))
            .exits(3)
            .setting("bind_password_file"),
        tap("an unknown way to bind", json!({"server_url": "ldap://127.0.0.1:1", "auth_method": "simpel"})).setting("auth_method").near("simple"),
        tap("TLS demanded and not asked for", json!({"server_url": "ldap://ldap.example.com", "bind_dn": "cn=x", "bind_password": "x", "require_tls": true})).setting("require_tls"),
        tap("certificates that are not there", json!({"server_url": "ldaps://127.0.0.1:1", "tls_ca_file": "{dir}/none.crt"})).setting("tls_ca_file"),
        tap("certificates that are no PEM", json!({"server_url": "ldaps://127.0.0.1:1", "tls_ca_file": "{dir}/tree.ldif"})).setting("tls_ca_file"),
        tap("a certificate that is no PEM", json!({"server_url": "ldaps://127.0.0.1:1", "tls_cert_file": "{dir}/tree.ldif", "tls_key_file": "{dir}/tree.ldif"}))
            .setting("tls_cert_file"),
        tap("certificates without an end", json!({"server_url": "ldaps://127.0.0.1:1", "tls_ca_file": "/dev/zero"})).setting("tls_ca_file"),
        tap("a setting that stands twice", json!({}))
            .args(&["--config", "{dir}/twice.json"])
            .with_file("twice.json", "{\"server_url\": \"ldif:a.ldif\", \"schemas\": [{\"name\": \"p\", \"filter\": \"(a=*)\", \"filter\": \"(b=*)\"}]}")
            .setting("schemas[0].filter"),
        tap("a configuration that has no end", json!({})).args(&["--config", "/dev/zero"]).setting("--config"),
        target("rejects that nobody would see", json!({"on_error": "skip", "reject_file": "/dev/null"})).setting("reject_file"),
        tap("a report on a device", json!({})).args(&["--discover", "--report", "/dev/null"]).setting("--report"),
        target("a folder as the input", json!({})).args(&["--input", "{dir}"]).setting("--input"),
        tap("a certificate without its key", json!({"server_url": "ldaps://127.0.0.1:1", "tls_cert_file": "{dir}/tree.ldif"})).setting("tls_key_file"),
        tap("a key that is not there", json!({"server_url": "ldaps://127.0.0.1:1", "tls_cert_file": "{dir}/none.crt", "tls_key_file": "{dir}/none.key"}))
            .setting("tls_cert_file"),
        tap("host beside a URL", json!({"host": "other.example"})).exits(0).setting("host"),
        tap("referrals' hosts that are not used", json!({"referral_hosts": ["a"]})).exits(0).setting("referral_hosts"),
        tap("start_tls over ldaps", json!({"server_url": "ldaps://127.0.0.1:1", "start_tls": true})).exits(3).setting("start_tls"),
        tap("metrics that nobody would read", json!({"metrics_file": "{dir}/m.txt"})).setting("metrics_file"),
        tap("metrics into no folder", json!({"metrics_file": "{dir}/none/m.prom"})).setting("metrics_file"),
        tap("an address that is none", json!({"metrics_listen": "here"})).setting("metrics_listen"),
        tap("an endpoint that is none", json!({"otlp_endpoint": "not a url"})).setting("otlp_endpoint"),
        tap("secrets that nothing has", json!({"secret_attributes": ["badgeNumbr"]})).exits(0).setting("secret_attributes"),
        tap("a negative time", json!({"connect_timeout_seconds": -1})).setting("connect_timeout_seconds"),
        tap("a choice that is none", json!({"follow_referrals": "folow"})).setting("follow_referrals").near("follow"),
        tap("a report where nothing can be written", json!({})).args(&["--discover", "--report", "/proc/r.html"]).setting("--report"),
        target("an undo file where nothing can be written", json!({"undo_file": "/proc/undo.ldif"})).setting("undo_file"),
        tap("a report in no folder", json!({})).args(&["--discover", "--report", "{dir}/none/r.html"]).setting("--report"),
    ]
}
