//! The service's own settings, and the text of `--about`.

use singer_common::plugin::about::About;
use singer_common::plugin::settings::{Group, Kind, Setting, Table};

/// The settings of `ldap-service`.
pub const TABLE: Table = Table { prefix: "LDAP_SERVICE", own: OWN, without: &[Group::StreamMaps] };

/// What `ldap-service --about` prints.
pub const ABOUT: About = About {
    name: "ldap-service",
    description: "Gives applications login, forward authentication, SCIM 2.0, search and LDIF over any LDAP directory.",
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &["about", "structured-logging", "openapi"],
    table: TABLE,
};

const OWN: &[Setting] = &[
    Setting::new(
        "listen",
        Kind::Text,
        "The address and port of the service. Beyond this machine, set `listen_cert_file`, or put a proxy with TLS in front: passwords pass here.",
    )
    .of(Group::Listener)
    .basic()
    .or("\"127.0.0.1:8389\""),
    Setting::new(
        "public_url",
        Kind::Text,
        "The URL at which clients reach the service, for example `https://ldap.example.com`: of `meta.location`, `Location` and `$ref` in SCIM. Without it, these have the host that the client asks for.",
    )
    .of(Group::Listener),
    Setting::new("listen_cert_file", Kind::Text, "PEM file of the service's own certificate (chain). With it, the service speaks TLS.")
        .of(Group::Listener),
    Setting::new("listen_key_file", Kind::Text, "PEM file of the key of `listen_cert_file`.").of(Group::Listener),
    Setting::new(
        "listen_client_ca_file",
        Kind::Text,
        "PEM file of the authorities whose client certificates are accepted, for `client_certificates`.",
    )
    .of(Group::Listener),
    Setting::new(
        "trusted_proxies",
        Kind::TextList,
        "Addresses (`127.0.0.1/32`, `10.0.0.0/8`) of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` headers are believed. From others, these headers are ignored.",
    )
    .of(Group::Listener)
    .basic()
    .or("[]"),
    Setting::new(
        "auth_enabled",
        Kind::Boolean,
        "Whether the service has the routes of login and forward authentication. `false` removes them, and `/api/v1/health` says so.",
    )
    .of(Group::Login)
    .or("true")
    .flext("FLEXT_AUTH_LDAP_PROVIDER_ENABLED"),
    Setting::new(
        "users",
        Kind::Object,
        "The users: `base_dn` (needed), `filter` (`(objectClass=person)`; on Active Directory the accounts of class `user` without those of computers, services and trusts: others do not exist for the service), `login_attributes` (`uid`, or `sAMAccountName` on Active Directory: a login name is compared with these), `scim` (SCIM attribute to LDAP attribute).",
    )
    .of(Group::People)
    .basic(),
    Setting::new(
        "groups",
        Kind::Object,
        "The groups: `base_dn` (needed), `filter` (`groupOfNames`, `groupOfUniqueNames`, `group` and `posixGroup`), `nested` (`auto`: groups in groups count; `off`: only direct members), `scim`, `unknown_members` (`refuse`, or `ignore`: ids of new members that no user or group has).",
    )
    .of(Group::People)
    .basic(),
    Setting::new(
        "roles",
        Kind::ObjectList,
        "Roles by group: `{\"role\": \"admin\", \"groups\": [DN, …]}`, or `{\"role\": \"{cn}\", \"below\": DN}` for a role of each group below a DN. `scopes` gives members of the role scopes of the service, for callers with a JWT.",
    )
    .of(Group::People)
    .or("[]"),
    Setting::new(
        "login",
        Kind::Object,
        "Limits of logins: `max_failures` (3) wrong passwords for one user in `window_seconds` (900), `per_address_per_minute` (30) wrong passwords from one address (0 for either: no bound, with a warning); `session_minutes` (480); `session_key_file` (32 octets or more; without it sessions end when the service ends; the file `NAME.ended` beside it has the sessions that were logged out); `return_hosts` (hosts to which the login page may lead back).",
    )
    .of(Group::Login)
    .or("{}"),
    Setting::new(
        "jwt",
        Kind::Object,
        "Bearer tokens of an identity provider: `issuer` and `audience` (needed), `algorithms` (asymmetric ones: RS256, ES256, EdDSA, …), `username_claim` (`preferred_username`), `username_attribute` (the attribute with its value; default: the first of `users.login_attributes`, and `mail` for the claim `email`), `client_claim` (a claim that only tokens of programs have, with the client id), `leeway_seconds` (60), `jwks_url` (default: found by the issuer's discovery document), `ca_file`.",
    )
    .of(Group::Callers),
    Setting::new(
        "api_tokens",
        Kind::ObjectList,
        "Programs with a token: `name`, `scopes`, and `sha256_file` (a file with the SHA-256 of the token, in hex) or `sha256`.",
    )
    .of(Group::Callers)
    .basic()
    .or("[]"),
    Setting::new(
        "client_certificates",
        Kind::ObjectList,
        "Programs with a client certificate: `name`, `scopes`, and `subject` (its subject DN) or `sha256` (the fingerprint of the certificate, in hex).",
    )
    .of(Group::Callers)
    .or("[]"),
    Setting::new(
        "write",
        Kind::Object,
        "Changes by SCIM and LDIF; without it, nothing is written. `mapping_rules` (as in target-ldap, for `users` and `groups`), `max_deletes` (10) deletions an hour, `undo_dir` (needed): the folder of the LDIF files that undo what was done; `protect`, `protect_defaults` and `write_base` as in target-ldap: what is never changed.",
    )
    .of(Group::Writes)
    .basic(),
    Setting::new(
        "limits",
        Kind::Object,
        "Bounds of a request: `count` (1000) entries in an answer, `request_bytes` (1048576), `request_seconds` (10), `concurrent` (64) requests at work, `connections` (1024), `filter_terms` (64), `header_bytes` (4096) of a header that the service makes, `import_bytes` (1 GiB).",
    )
    .of(Group::Listener)
    .or("{}"),
];
