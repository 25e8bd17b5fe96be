//! The forms of requests and answers, for the document. Answers are written without them.

use serde_json::Value;
use utoipa::ToSchema;

/// An error (RFC 9457). `code` is for programs and stays as it is; `detail` is for people. Some codes have further members, such as `member`,
/// `position`, `near`, `scope`, `result_code`.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"type": "about:blank", "title": "Bad Request", "status": 400, "code": "invalid_filter", "detail": "`filter`: filter, byte 5: `)` expected", "request_id": "7c0a5b0e0d5d4c4bb5a4a6d3c0a2f3de", "position": 5}))]
pub(super) struct Problem {
    /// Always `about:blank`.
    #[schema(rename = "type", example = "about:blank")]
    kind: String,
    /// The name of the status.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, for programs.
    #[schema(example = "invalid_filter")]
    code: String,
    /// What is wrong, and what would be right, for people.
    detail: String,
    /// The number of the request, also in the log and in the header `X-Request-Id`.
    request_id: String,
}

/// An entry: `dn`, and its attributes by their names in the schema. An attribute that may have several values is a list, also if it has one.
/// Attributes that were asked for by name and that the entry does not have are null.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"dn": "uid=ada,ou=people,dc=example,dc=com", "uid": ["ada"], "cn": ["Ada Lovelace"], "mail": ["ada@example.com"], "employeeNumber": "7", "modifyTimestamp": "2026-01-31T08:00:00Z", "hasSubordinates": false}))]
pub(super) struct DirectoryEntry {
    /// The DN (RFC 4514), in the server's spelling.
    dn: String,
}

/// What is not as asked in an answer, though it succeeded.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"code": "undefined_comparison", "about": "(uidNumber=x)", "count": 1, "detail": "no entry matches: `uidNumber` is compared with what is not a valid whole number; expected: a whole number"}))]
pub(super) struct SearchWarning {
    /// `undefined_comparison`, `invalid_value`, `surplus_values`, `references_not_followed` or `unreadable_dn`.
    code: WarningCode,
    /// The comparison, the attribute, or the DNs.
    about: Value,
    /// How often.
    count: u64,
    /// For people.
    detail: String,
}

/// The code of a warning.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(rename_all = "snake_case")]
pub(super) enum WarningCode {
    UndefinedComparison,
    InvalidValue,
    SurplusValues,
    ReferencesNotFollowed,
    UnreadableDn,
}

/// `success`.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(rename_all = "snake_case")]
pub(super) enum Success {
    Success,
}

/// A page of users.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"status": "success", "data": [{"dn": "uid=ada,ou=people,dc=example,dc=com", "uid": ["ada"], "mail": ["ada@example.com"]}], "count": 1, "next_cursor": null}))]
pub(super) struct SearchAnswer {
    /// Always `success`: errors have another status and form.
    status: Success,
    /// The entries.
    data: Vec<DirectoryEntry>,
    /// The number of entries in `data`.
    count: u32,
    /// The cursor of the next page; null at the end of the answer.
    #[schema(required)]
    next_cursor: Option<String>,
    /// What is not as asked; missing if there is nothing.
    warnings: Option<Vec<SearchWarning>>,
}

/// The process runs.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"status": "ok"}))]
pub(super) struct Live {
    /// `ok`.
    status: LiveStatus,
}

/// `ok`.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(rename_all = "snake_case")]
pub(super) enum LiveStatus {
    Ok,
}

/// Whether requests can be answered now.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"status": "ready"}))]
pub(super) struct Ready {
    /// `ready` (200) or `not_ready` (503).
    status: ReadyStatus,
}

/// `ready` or `not_ready`.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(rename_all = "snake_case")]
pub(super) enum ReadyStatus {
    Ready,
    NotReady,
}

/// The health report.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"status": "healthy", "name": "ldap-service", "version": "0.1.0", "uptime_seconds": 86400, "stopping": false, "auth_enabled": true, "writes_enabled": false, "checks": [{"name": "connect", "ok": true, "detail": "ldaps://ldap.example.com", "milliseconds": 2}]}))]
pub(super) struct HealthReport {
    /// `healthy` (200) or `unhealthy` (503).
    status: HealthStatus,
    /// `ldap-service`.
    name: String,
    /// The version of the service.
    version: String,
    /// How long it has run.
    uptime_seconds: u64,
    /// Whether it is being stopped.
    stopping: bool,
    /// Whether the routes of login exist.
    auth_enabled: bool,
    /// Whether the service may change the directory.
    writes_enabled: bool,
    /// Connect, bind, search, schema, and the configuration against the directory. After an outage, no others follow.
    checks: Vec<HealthCheck>,
}

/// `healthy` or `unhealthy`.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(rename_all = "snake_case")]
pub(super) enum HealthStatus {
    Healthy,
    Unhealthy,
}

/// A check of the directory.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
pub(super) struct HealthCheck {
    /// `connect`, `bind`, `search`, `schema`, or what of the configuration was checked, as `login_attributes`.
    name: String,
    /// Whether it succeeded.
    ok: bool,
    /// For people.
    detail: String,
    /// How long it took.
    milliseconds: Option<u64>,
    /// For checks of the configuration: `ok`, `warning` (with `ok: true`), `failed` or `unknown`.
    result: Option<String>,
}

/// An operation of the plugin.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"operation": "search_users", "params": {"filter": "(uid=ada)", "attributes": ["cn", "mail"]}}))]
pub(super) struct PluginRequest {
    /// `search_users` (needs the scope `search`, too), `create_user` (needs `scim.write`, too) or `health_check`.
    operation: PluginOperation,
    /// `search_users`: the members of a search. `create_user`: the attributes of the user by their LDAP names, and `password`, as the mapping rule `users` takes them. `health_check`: none.
    #[schema(additional_properties = true)]
    params: Option<serde_json::Map<String, Value>>,
}

/// The name of an operation.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(rename_all = "snake_case")]
pub(super) enum PluginOperation {
    SearchUsers,
    CreateUser,
    HealthCheck,
}

/// The outcome of an operation that succeeded. `search_users`: `users`, `count`, `next_cursor`. `create_user`: `dn`, `id` (the immutable id), `effect` (`added`), `undo_file` (below `write.undo_dir`). `health_check`: the
/// health report; `success` says that the check was made, and `status` in `data` what it found.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"success": true, "data": {"users": [{"dn": "uid=ada,ou=people,dc=example,dc=com", "cn": ["Ada Lovelace"]}], "count": 1, "next_cursor": null}}))]
pub(super) struct PluginAnswer {
    /// `true`.
    success: bool,
    /// What the operation found or made.
    #[schema(additional_properties = true)]
    data: serde_json::Map<String, Value>,
}

/// The outcome of an operation that failed.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
#[schema(example = json!({"success": false, "error": {"code": "unknown_operation", "message": "there is no operation `serch_users`: did you mean `search_users`?", "request_id": "7c0a5b0e0d5d4c4bb5a4a6d3c0a2f3de", "near": "search_users"}}))]
pub(super) struct PluginFailure {
    /// `false`.
    success: bool,
    /// What is wrong.
    error: PluginError,
}

/// What is wrong, with the members that a `Problem` has for this code.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "for the document")]
pub(super) struct PluginError {
    /// What is wrong, for programs: as in a `Problem`.
    code: String,
    /// What is wrong, for people.
    message: String,
    /// The number of the request.
    request_id: String,
}
