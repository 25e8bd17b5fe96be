//! The settings of both executables.

use super::{Group, Kind, Setting};

const SECONDS: Kind = Kind::Integer { min: 1, max: 86_400 };

/// The settings of both executables, in the order of the documentation.
pub const SHARED: &[Setting] = &[
    Setting::new(
        "server_url",
        Kind::TextOrList,
        "The directory: `ldap://host:port`, `ldaps://…`, `ldapi://%2Fpath%2Fto%2Fsocket`, or `ldif:PATH` for a file. A list is tried in order.",
    )
    .of(Group::Connection)
    .basic(),
    Setting::new("host", Kind::Text, "The server's name or address, if `server_url` is not set.")
        .of(Group::Connection)
        .flext("FLEXT_LDAP_HOST"),
    Setting::new(
        "port",
        Kind::Integer { min: 1, max: 65_535 },
        "The port for `host`; 389, or 636 with `use_ssl`.",
    )
    .of(Group::Connection)
    .flext("FLEXT_LDAP_PORT"),
    Setting::new("use_ssl", Kind::Boolean, "With `host`: TLS from the first octet (`ldaps://`).")
        .of(Group::Connection)
        .or("false")
        .flext("FLEXT_LDAP_USE_SSL"),
    Setting::new(
        "auth_method",
        Kind::Choice(&["simple", "anonymous", "external", "gssapi", "ntlm"]),
        "The bind method (RFC 4513). The default is `simple` if `bind_dn` is set, else `anonymous`. `external` uses the identity of the client certificate or of the `ldapi` peer. `gssapi` uses the Kerberos ticket of the user who runs this; executables need the feature `gssapi`. `ntlm` uses a Windows account (feature `ntlm`). Both encrypt `ldap://` connections.",
    )
    .of(Group::Authentication),
    Setting::new("bind_dn", Kind::Text, "The DN to bind as. Active Directory also accepts user@domain; `ntlm` needs DOMAIN\\user or user@domain.")
        .of(Group::Authentication)
        .basic()
        .flext("FLEXT_LDAP_BIND_DN"),
    Setting::new("bind_password", Kind::Text, "The password of `bind_dn`. Never logged.")
        .of(Group::Authentication)
        .basic()
        .secret()
        .flext("FLEXT_LDAP_BIND_PASSWORD"),
    Setting::new(
        "bind_password_file",
        Kind::Text,
        "A file that contains the password; one line feed at its end is ignored. A warning is logged if others than its owner and group may read it, or others than its owner may change it.",
    )
    .of(Group::Authentication),
    Setting::new("start_tls", Kind::Boolean, "Upgrade an `ldap://` connection to TLS before the bind (RFC 4511 section 4.14).")
        .of(Group::Tls)
        .basic()
        .or("false"),
    Setting::new("tls_ca_file", Kind::Text, "PEM file of trusted certificate authorities, in place of the system's.")
        .of(Group::Tls)
        .basic(),
    Setting::new("tls_cert_file", Kind::Text, "PEM file of the client certificate (chain).")
        .of(Group::Tls),
    Setting::new("tls_key_file", Kind::Text, "PEM file of the client certificate's key.")
        .of(Group::Tls),
    Setting::new(
        "tls_verify",
        Kind::Boolean,
        "Verify the server's certificate and name. `false` is for tests: an attacker in the middle can read the password.",
    )
    .of(Group::Tls)
    .or("true"),
    Setting::new(
        "require_tls",
        Kind::Boolean,
        "Refuse to send a password in clear text to a host that is not loopback. `false` logs a warning instead.",
    )
    .of(Group::Tls)
    .holds_back()
    .or("false"),
    Setting::new("connect_timeout_seconds", SECONDS, "The timeout of the host name lookup, of TCP for each address, and of TLS and the bind together. If an address does not answer, the next one is tried.")
        .of(Group::Retries)
        .or("10"),
    Setting::new(
        "operation_timeout_seconds",
        SECONDS,
        "The longest wait for the server's next answer, per operation, not per run.",
    )
    .of(Group::Retries)
    .or("300"),
    Setting::new(
        "retry_attempts",
        Kind::Integer { min: 0, max: 100 },
        "The most retries of connecting, of a read and of a change. A connect is retried if no server is reachable. Reads and changes are retried if the connection is lost, or the server is busy or unavailable (docs/explanation/reliability.md).",
    )
    .of(Group::Retries)
    .or("3")
    .flext("FLEXT_LDAP_RETRY_ATTEMPTS"),
    Setting::new(
        "retry_max_wait_seconds",
        SECONDS,
        "The longest pause between two attempts. Pauses start at a quarter of a second and double, with jitter.",
    )
    .of(Group::Retries)
    .or("30"),
    Setting::new(
        "connection_pool_size",
        Kind::Integer { min: 1, max: 64 },
        "The most connections open at once. A second connection makes reads faster; with 1, long answers share the only connection.",
    )
    .of(Group::Throughput)
    .or("4")
    .flext("FLEXT_LDAP_CONNECTION_POOL_SIZE"),
    Setting::new(
        "follow_referrals",
        Kind::Choice(&["ignore", "follow", "fail"]),
        "Referrals to other servers. `ignore` counts them and warns once; the server's referral entries are then read as entries (RFC 3296). `follow` follows those to one of `referral_hosts` and ignores others; LOG_BASED follows none in its changes. `fail` fails.",
    )
    .of(Group::Connection)
    .or("\"ignore\""),
    Setting::new(
        "referral_hosts",
        Kind::TextList,
        "With `follow_referrals: follow`: the hosts, as `host` or `host:port`, to which referrals may lead. The bind there is the same, so these hosts receive the password.",
    )
    .of(Group::Connection),
    Setting::new(
        "page_size",
        Kind::Integer { min: 0, max: 2_147_483_647 },
        "Entries per page of a search (RFC 2696). With the default, pages that are slow to start (high latency) grow, to at most 256,000 entries. Other numbers are fixed. If the server rejects a page as too large, a smaller one is requested. 0 disables paging.",
    )
    .of(Group::Throughput)
    .or("1000"),
    Setting::new(
        "secret_attributes",
        Kind::TextList,
        "Attributes and record properties to treat as secret, in addition to known ones (passwords, their history, keys). Plans, rejects, reports and logs do not contain their values. The tap reads them only if they are named explicitly.",
    )
    .of(Group::Output)
    .or("[]"),
    Setting::new(
        "enable_metrics",
        Kind::Boolean,
        "Singer's METRIC lines on stderr (not in a text log on a terminal), and `metrics_file` and `metrics_listen` if they are set. `false` disables all of them.",
    )
    .of(Group::Metrics)
    .or("true")
    .flext("FLEXT_LDAP_ENABLE_METRICS"),
    Setting::new(
        "metrics_file",
        Kind::Text,
        "A file for Prometheus metrics, for node_exporter's textfile collector; its name must end in `.prom`. Replaced atomically every 15 seconds and at the end of every run, including failed ones.",
    )
    .of(Group::Metrics),
    Setting::new(
        "metrics_listen",
        Kind::Text,
        "The address of `/metrics` (Prometheus) and `/health` (JSON) over HTTP during the run: `127.0.0.1:9330`, or `:9330`, which is loopback, too.",
    )
    .of(Group::Metrics),
    Setting::new(
        "metrics_labels",
        Kind::Object,
        "Labels of all metrics, for example `{\"pipeline\": \"hr\"}`, to distinguish runs on the same machine.",
    )
    .of(Group::Metrics),
    Setting::new(
        "otlp_endpoint",
        Kind::Text,
        "The collector for traces: the URL of an OTLP receiver over HTTP, `http://127.0.0.1:4318`. With `TRACEPARENT` in its environment, the run is part of that trace. `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_SERVICE_NAME` apply.",
    )
    .of(Group::Metrics),
    Setting::new("enable_tracing", Kind::Boolean, "`false` disables traces, even if `otlp_endpoint` is set.")
        .of(Group::Metrics)
        .or("true")
        .flext("FLEXT_LDAP_ENABLE_TRACING"),
    Setting::new(
        "stream_maps",
        Kind::Object,
        "Inline transformations, as in the Meltano SDK, by stream (`*` is a wildcard): `{\"users\": {\"__alias__\": …, \"__filter__\": …, \"__key_properties__\": …, \"__source__\": …, \"__else__\": null, \"mail\": \"mail.lower()\", \"phone\": null}}`; null (or `\"__NULL__\"`) removes a stream or a property.",
    )
    .of(Group::StreamMaps)
    .basic(),
    Setting::new(
        "stream_map_config",
        Kind::Object,
        "Values for expressions in `stream_maps`: `config['salt']`.",
    )
    .of(Group::StreamMaps)
    .secret(),
    Setting::new(
        "flattening_enabled",
        Kind::Boolean,
        "Convert objects in records to properties (`parent__child`), and lists to JSON texts, as the Meltano SDK does. Every attribute with several values is a list: this is for destinations without lists.",
    )
    .of(Group::StreamMaps)
    .or("false"),
    Setting::new(
        "flattening_max_depth",
        Kind::Integer { min: 0, max: 100 },
        "With `flattening_enabled`: the number of object levels to flatten. Deeper objects become JSON texts; 0 disables flattening.",
    )
    .of(Group::StreamMaps),
    Setting::new("flattening_separator", Kind::Text, "With `flattening_enabled`: the separator between the names.")
        .of(Group::StreamMaps)
        .or("\"__\"")
        .alias(&["flattening_key_separator"]),
];
