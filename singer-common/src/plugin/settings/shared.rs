//! The settings both executables have.

use super::{Kind, Setting};

const SECONDS: Kind = Kind::Integer { min: 1, max: 86_400 };

/// The settings both executables have, in the order they are documented.
pub const SHARED: &[Setting] = &[
    Setting::new(
        "server_url",
        Kind::TextOrList,
        "The directory: `ldap://host:port`, `ldaps://…`, `ldapi://%2Fpath%2Fto%2Fsocket`, or `ldif:PATH` for a file. A list is tried in order.",
    ),
    Setting::new("host", Kind::Text, "The server's name or address, where `server_url` is not given.")
        .flext("FLEXT_LDAP_HOST"),
    Setting::new(
        "port",
        Kind::Integer { min: 1, max: 65_535 },
        "The port that goes with `host`; 389, or 636 with `use_ssl`.",
    )
    .flext("FLEXT_LDAP_PORT"),
    Setting::new("use_ssl", Kind::Boolean, "With `host`: TLS from the first byte (`ldaps://`).")
        .or("false")
        .flext("FLEXT_LDAP_USE_SSL"),
    Setting::new(
        "auth_method",
        Kind::Choice(&["simple", "anonymous", "external", "gssapi", "ntlm"]),
        "How to bind (RFC 4513). `simple` when `bind_dn` is set, else `anonymous`; `external` takes the identity of the client certificate or of the `ldapi` peer; `gssapi` takes the Kerberos ticket of who runs this (executables built with the feature `gssapi`), `ntlm` a Windows account (feature `ntlm`). Both encrypt what goes over `ldap://`.",
    ),
    Setting::new("bind_dn", Kind::Text, "The DN (on Active Directory also user@domain; with `ntlm` DOMAIN\\user or user@domain) to bind as.")
        .flext("FLEXT_LDAP_BIND_DN"),
    Setting::new("bind_password", Kind::Text, "The password of `bind_dn`. Never logged.")
        .secret()
        .flext("FLEXT_LDAP_BIND_PASSWORD"),
    Setting::new(
        "bind_password_file",
        Kind::Text,
        "A file that holds the password; one line feed at its end is dropped. A file that others than its owner and group may read, or others than its owner may change, is warned of.",
    ),
    Setting::new("start_tls", Kind::Boolean, "Upgrade an `ldap://` connection to TLS before the bind (RFC 4511 section 4.14).")
        .or("false"),
    Setting::new("tls_ca_file", Kind::Text, "PEM file of the authorities to trust, in place of the system's."),
    Setting::new("tls_cert_file", Kind::Text, "PEM file of the client certificate (chain)."),
    Setting::new("tls_key_file", Kind::Text, "PEM file of the client certificate's key."),
    Setting::new(
        "tls_verify",
        Kind::Boolean,
        "Check the server's certificate and name. `false` is for tests: anybody in between can read the password.",
    )
    .or("true"),
    Setting::new(
        "require_tls",
        Kind::Boolean,
        "Refuse to send a password in clear text to a host that is not loopback; `false` warns.",
    )
    .or("false"),
    Setting::new("connect_timeout_seconds", SECONDS, "For the look-up of a host name; then, for each of its addresses, for TCP; and for TLS and the bind together. While an address is silent the next one is tried.").or("10"),
    Setting::new(
        "operation_timeout_seconds",
        SECONDS,
        "The longest wait for the next answer of the server, per operation, not per run.",
    )
    .or("300"),
    Setting::new(
        "retry_attempts",
        Kind::Integer { min: 0, max: 100 },
        "How often something is tried again: connecting when no server can be reached, a read or a change when the connection is lost or the server is busy or unavailable (docs/reliability.md).",
    )
    .or("3")
    .flext("FLEXT_LDAP_RETRY_ATTEMPTS"),
    Setting::new(
        "retry_max_wait_seconds",
        SECONDS,
        "The longest pause between two attempts; pauses double from a quarter of a second, with jitter.",
    )
    .or("30"),
    Setting::new(
        "connection_pool_size",
        Kind::Integer { min: 1, max: 64 },
        "The most connections open at once. A directory is read faster over a second one; with 1, long answers come over the one that there is.",
    )
    .or("4")
    .flext("FLEXT_LDAP_CONNECTION_POOL_SIZE"),
    Setting::new(
        "follow_referrals",
        Kind::Choice(&["ignore", "follow", "fail"]),
        "What to do with a referral to another server: count it and warn once, follow it to one of `referral_hosts` (others are ignored; LOG_BASED follows none in its changes), or fail. With `ignore`, referral entries of this server are read as entries (RFC 3296).",
    )
    .or("\"ignore\""),
    Setting::new(
        "referral_hosts",
        Kind::TextList,
        "With `follow_referrals: follow`: the hosts, as `host` or `host:port`, that referrals may lead to. They are bound to in the same way, and so get to see the password.",
    ),
    Setting::new(
        "page_size",
        Kind::Integer { min: 0, max: 2_147_483_647 },
        "Entries per page of a search (RFC 2696). With the default they are more, up to 256,000, where pages begin slowly, as over a long way; any other number is kept. A page the server finds too large is asked for again, smaller. 0 reads unpaged.",
    )
    .or("1000"),
    Setting::new(
        "secret_attributes",
        Kind::TextList,
        "Attributes and properties of records that are treated as secret, beside those known to be (passwords, their history, keys): their values are in no plan, reject, report or log, and the tap reads them only where they are named.",
    )
    .or("[]"),
    Setting::new(
        "enable_metrics",
        Kind::Boolean,
        "Singer's METRIC lines on stderr, and `metrics_file` and `metrics_listen` where they are set. `false` switches all of them off.",
    )
    .or("true")
    .flext("FLEXT_LDAP_ENABLE_METRICS"),
    Setting::new(
        "metrics_file",
        Kind::Text,
        "A file for Prometheus metrics, as node_exporter's textfile collector reads them: it must end in `.prom`. Replaced in one rename every 15 seconds and at the end, whatever the outcome.",
    ),
    Setting::new(
        "metrics_listen",
        Kind::Text,
        "Where `/metrics` (Prometheus) and `/health` (JSON) are served over HTTP while the run goes on: `127.0.0.1:9330`, or `:9330`, which is loopback, too.",
    ),
    Setting::new(
        "metrics_labels",
        Kind::Object,
        "Labels of all metrics, for example `{\"pipeline\": \"hr\"}`: they tell runs on the same machine from one another.",
    ),
    Setting::new(
        "otlp_endpoint",
        Kind::Text,
        "Where traces are sent: the URL of an OTLP receiver over HTTP, `http://127.0.0.1:4318`. A run that finds `TRACEPARENT` in its environment is part of that trace; `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_SERVICE_NAME` count.",
    ),
    Setting::new("enable_tracing", Kind::Boolean, "`false` sends no traces, though `otlp_endpoint` is set.")
        .or("true")
        .flext("FLEXT_LDAP_ENABLE_TRACING"),
    Setting::new(
        "stream_maps",
        Kind::Object,
        "Inline transformations, as the Meltano SDK has them, by stream (`*` is a wildcard): `{\"users\": {\"__alias__\": …, \"__filter__\": …, \"__key_properties__\": …, \"__source__\": …, \"__else__\": null, \"mail\": \"mail.lower()\", \"phone\": null}}`; null (or `\"__NULL__\"`) leaves a stream or a property out.",
    ),
    Setting::new(
        "stream_map_config",
        Kind::Object,
        "Values that expressions in `stream_maps` refer to: `config['salt']`.",
    )
    .secret(),
    Setting::new(
        "flattening_enabled",
        Kind::Boolean,
        "Make objects within records properties of the record (`parent__child`), and lists texts of JSON, as the Meltano SDK does. That is every attribute with several values: for destinations that know no lists.",
    )
    .or("false"),
    Setting::new(
        "flattening_max_depth",
        Kind::Integer { min: 0, max: 100 },
        "With `flattening_enabled`: how many levels of objects are flattened. What is deeper becomes a text of JSON; 0 does nothing.",
    ),
    Setting::new("flattening_separator", Kind::Text, "With `flattening_enabled`: what is put between the names.")
        .or("\"__\"")
        .alias(&["flattening_key_separator"]),
];
