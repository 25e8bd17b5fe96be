//! Server and bind: questions, each answer tested at once.

use serde_json::{Map, Value};

use super::{Init, InitError};
use ldap_directory::{ConnectErrorKind, Directory, DirectoryError, ErrorKind, ServerUrl};

/// Settings of a connection that an attempt may change.
const OF_CONNECTION: [&str; 6] = ["server_url", "host", "port", "use_ssl", "start_tls", "tls_verify"];

/// The result of an attempt.
enum Attempt {
    Reachability,
    /// The next form of this server's URL may work.
    Failed,
    /// Another server is needed.
    NoSuchHost,
}

/// The result of an attempt without a bind.
enum Reachability {
    /// The server was reached, over TLS if that was requested.
    Server,
    /// The server's certificate was rejected.
    Certificate(String),
    /// The host name cannot be resolved.
    NoSuchHost(String),
    /// The server was not reached.
    Not(String),
}

impl Init {
    /// Asks for server and user until a bind succeeds.
    pub async fn connect(&mut self) -> Result<Directory, InitError> {
        self.server().await?;
        let directory = self.bind().await?;
        let root = directory.root_dse();
        let version = if root.version.is_empty() { String::new() } else { format!(" {}", root.version) };
        self.terminal.say(&format!("  Yes: {} is {}{version}.\n", directory.location(), root.vendor.name()));
        Ok(directory)
    }

    fn is_file(&self) -> bool {
        self.settings.get("server_url").and_then(Value::as_str).is_some_and(|u| u.starts_with("ldif:"))
    }

    async fn server(&mut self) -> Result<(), InitError> {
        let given = self.settings.contains_key("server_url") || self.settings.contains_key("host");
        if self.terminal.takes_suggestions() {
            if !given {
                let reason = "--yes: no server is given; set server_url in --config".to_owned();
                return Err(InitError::Missing(reason));
            }
            // The bind will show whether the server is there.
            return Ok(());
        }
        self.terminal.say("Server: a name (ldap.example.com), a URL (ldaps://…, ldap://…, ldapi://…), or a file (ldif:PATH)");
        let text = |key: &str| self.settings.get(key).and_then(Value::as_str);
        let suggestion = text("server_url").or(text("host")).unwrap_or_default().to_owned();
        loop {
            let answer = self.terminal.ask("Server", &suggestion).await?;
            let attempts = attempts(&answer);
            for (url, start_tls) in attempts {
                if let Err(e) = ServerUrl::parse(&url) {
                    self.no(&e.to_string());
                    break;
                }
                for key in OF_CONNECTION {
                    self.settings.shift_remove(key);
                }
                self.settings.insert("server_url".into(), url.as_str().into());
                if start_tls {
                    self.settings.insert("start_tls".into(), true.into());
                }
                match self.try_server(&url, start_tls).await? {
                    Attempt::Reachability => return Ok(()),
                    Attempt::NoSuchHost => break,
                    Attempt::Failed => {}
                }
            }
        }
    }

    /// Tries to reach a server, and asks about its certificate if it was rejected.
    async fn try_server(&mut self, url: &str, start_tls: bool) -> Result<Attempt, InitError> {
        let how = if start_tls { " with StartTLS" } else { "" };
        loop {
            self.terminal.say(&format!("  Trying {url}{how} …"));
            match self.reach().await? {
                Reachability::Server => {
                    let leaves = ServerUrl::parse(url).is_ok_and(|u| u.leaves_this_machine());
                    if url.starts_with("ldap://") && !start_tls && leaves {
                        self.terminal
                            .say("  Yes, but without TLS: a password would cross the network in clear text.");
                    } else {
                        self.terminal.say("  Yes: it answers.");
                    }
                    return Ok(Attempt::Reachability);
                }
                Reachability::Not(why) => {
                    self.no(&why);
                    return Ok(Attempt::Failed);
                }
                Reachability::NoSuchHost(why) => {
                    self.no(&why);
                    // Another port does not help.
                    return Ok(Attempt::NoSuchHost);
                }
                Reachability::Certificate(why) => {
                    self.no(&why);
                    let question = "PEM file of the authority to trust (none: trust anybody, for tests only; Enter: another server)";
                    let answer = self.terminal.ask(question, "").await?;
                    match answer.as_str() {
                        "" => return Ok(Attempt::NoSuchHost),
                        "none" => {
                            self.settings.insert("tls_verify".into(), false.into());
                        }
                        path => {
                            let path = std::path::absolute(path)
                                .map_or(path.to_owned(), |p| p.display().to_string());
                            self.settings.insert("tls_ca_file".into(), path.into());
                        }
                    }
                }
            }
        }
    }

    /// Whether a server answers. A server that denies anonymous reads was reached, too.
    async fn reach(&self) -> Result<Reachability, InitError> {
        let user = ["bind_dn", "bind_password_file", "auth_method"];
        let settings: Map<String, Value> = self
            .settings
            .iter()
            .filter(|(k, _)| !user.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let nobody = Init {
            terminal: super::Terminal::new(true)?,
            table: self.table,
            settings,
            password: None,
            output: self.output.clone(),
            access: self.access,
        };
        Ok(match nobody.open().await {
            Ok(directory) => {
                directory.close().await;
                Reachability::Server
            }
            Err(InitError::Directory(DirectoryError::Bind { .. } | DirectoryError::Operation { .. })) => {
                Reachability::Server
            }
            Err(InitError::Directory(e)) => match e.kind() {
                ErrorKind::Connect(ConnectErrorKind::Certificate) => Reachability::Certificate(e.to_string()),
                ErrorKind::Connect(ConnectErrorKind::Resolve) => Reachability::NoSuchHost(e.to_string()),
                _ => Reachability::Not(e.to_string()),
            },
            Err(e) => Reachability::Not(e.to_string()),
        })
    }

    async fn bind(&mut self) -> Result<Directory, InitError> {
        if self.terminal.takes_suggestions() || self.is_file() {
            return self.open().await;
        }
        let mut suggestion =
            self.settings.get("bind_dn").and_then(Value::as_str).unwrap_or_default().to_owned();
        loop {
            let question =
                "Bind as (a DN, or user@domain on Active Directory; Enter alone: nobody, anonymously)";
            let question = if suggestion.is_empty() { question } else { "Bind as (- for nobody)" };
            let name = self.terminal.ask(question, &suggestion).await?;
            for key in ["bind_dn", "bind_password_file", "auth_method"] {
                self.settings.shift_remove(key);
            }
            self.password = None;
            if !name.is_empty() && name != "-" {
                let password = self.terminal.secret("Password (it is not shown)").await?;
                if password.reveal().is_empty() {
                    // RFC 4513 section 5.1.2: the server would treat it as an unauthenticated bind, which succeeds.
                    self.no("without a password nobody is bound");
                    continue;
                }
                self.settings.insert("bind_dn".into(), name.as_str().into());
                self.password = Some(password);
                suggestion = name;
            }
            match self.open().await {
                Ok(directory) => return Ok(directory),
                Err(e) => self.no(&e.to_string()),
            }
        }
    }
}

/// Returns the possible meanings of an answer, the safest first: URLs, each with whether to use StartTLS.
fn attempts(answer: &str) -> Vec<(String, bool)> {
    if answer.is_empty() {
        return Vec::new();
    }
    if let Some(rest) = answer.strip_prefix("ldap://") {
        return vec![(format!("ldap://{rest}"), true), (format!("ldap://{rest}"), false)];
    }
    if answer.contains("://") || answer.starts_with("ldif:") {
        return vec![(answer.to_owned(), false)];
    }
    let (tls, clear) = (format!("ldaps://{answer}"), format!("ldap://{answer}"));
    // 636, and 3269 of Active Directory's global catalog, use TLS from the first octet; 389 and 3268 do not.
    if [":636", ":3269"].iter().any(|port| answer.ends_with(port)) {
        vec![(tls, false)]
    } else if [":389", ":3268"].iter().any(|port| answer.ends_with(port)) {
        vec![(clear.clone(), true), (clear, false)]
    } else {
        vec![(tls, false), (clear.clone(), true), (clear, false)]
    }
}

#[cfg(test)]
mod tests {
    use super::attempts;

    #[test]
    fn init_tries_the_safest_url_first() {
        let all = |answer| {
            attempts(answer).into_iter().map(|(url, tls)| format!("{url} {tls}")).collect::<Vec<_>>()
        };
        assert_eq!(
            all("ldap.example.com"),
            [
                "ldaps://ldap.example.com false",
                "ldap://ldap.example.com true",
                "ldap://ldap.example.com false"
            ]
        );
        assert_eq!(all("dc1:636"), ["ldaps://dc1:636 false"]);
        assert_eq!(all("dc1:389"), ["ldap://dc1:389 true", "ldap://dc1:389 false"]);
        assert_eq!(all("ldaps://dc1"), ["ldaps://dc1 false"]);
        assert_eq!(all("ldif:a.ldif"), ["ldif:a.ldif false"]);
        assert!(all("").is_empty());
    }
}
