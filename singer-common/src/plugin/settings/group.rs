//! Groups of settings: the headings of the documentation.

/// A group of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The directory's address.
    Connection,
    /// The bind.
    Authentication,
    /// TLS.
    Tls,
    /// The streams of the tap.
    Streams,
    /// What a run reads, and from which position.
    Replication,
    /// How records become entries.
    Mapping,
    /// Deletions downstream (tap), or in the directory (target).
    Deletions,
    /// Records that cannot be written.
    Rejects,
    /// Limits that hold a run back.
    Limits,
    /// Dry runs, and the LDIF that undoes a run.
    PlanAndUndo,
    /// LDIF files as the destination.
    Ldif,
    /// The form of the output.
    Output,
    /// Inline transformations.
    StreamMaps,
    /// Connections, pages and operations at once.
    Throughput,
    /// Timeouts and retries.
    Retries,
    /// Logs, metrics and traces.
    Metrics,
    /// The address and the certificate of the service, and the proxies in front of it.
    Listener,
    /// The users, groups and roles that the service knows.
    People,
    /// Logins and sessions.
    Login,
    /// Programs that may call the service.
    Callers,
    /// Changes that the service makes.
    Writes,
}

impl Group {
    /// The groups, in the order of the documentation.
    pub const ALL: &'static [Group] = &[
        Group::Connection,
        Group::Authentication,
        Group::Tls,
        Group::Streams,
        Group::Replication,
        Group::Mapping,
        Group::Deletions,
        Group::Rejects,
        Group::Limits,
        Group::PlanAndUndo,
        Group::Ldif,
        Group::Output,
        Group::StreamMaps,
        Group::Throughput,
        Group::Retries,
        Group::Metrics,
        Group::Listener,
        Group::People,
        Group::Login,
        Group::Callers,
        Group::Writes,
    ];

    /// Returns the heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Connection => "Connection",
            Group::Authentication => "Authentication",
            Group::Tls => "TLS",
            Group::Streams => "Streams and discovery",
            Group::Replication => "Replication",
            Group::Mapping => "Mapping",
            Group::Deletions => "Deletions",
            Group::Rejects => "Validation and rejects",
            Group::Limits => "Limits and protection",
            Group::PlanAndUndo => "Plan and undo",
            Group::Ldif => "LDIF files",
            Group::Output => "Output",
            Group::StreamMaps => "Stream maps and flattening",
            Group::Throughput => "Throughput",
            Group::Retries => "Timeouts and retries",
            Group::Metrics => "Logs, metrics and traces",
            Group::Listener => "Listener and proxies",
            Group::People => "Users, groups and roles",
            Group::Login => "Logins and sessions",
            Group::Callers => "Callers",
            Group::Writes => "Changes",
        }
    }
}
