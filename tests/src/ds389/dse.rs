//! dse.ldif, the configuration of 389 Directory Server: the package's template, filled in and changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{ADMIN_PASSWORD, Ds389Options, config_dir};
use crate::server::{Server, packaged, succeed, tool};

const TEMPLATE: &str = "/usr/share/dirsrv/data/template-dse.ldif";
const INSTANCE: &str = "cn=userRoot,cn=ldbm database,cn=plugins,cn=config";

/// The text of dse.ldif, but for the ports.
pub(super) fn dse(server: &Server, options: &Ds389Options) -> String {
    let mut dse = Dse::from_template(server, options);
    for (name, value) in [
        ("nsslapd-listenhost", "127.0.0.1"),
        ("nsslapd-securelistenhost", "127.0.0.1"),
        ("nsslapd-security", "on"),
        // 500 entries for an unpaged search; a paged one may have all.
        ("nsslapd-sizelimit", "500"),
        ("nsslapd-pagedsizelimit", "-1"),
        ("nsslapd-accesslog-logbuffering", "off"),
        ("nsslapd-auditlog-logging-enabled", "off"),
        ("nsslapd-disk-monitoring", "off"),
        // A cheap hash: the default makes each simple bind slow.
        ("passwordStorageScheme", "SSHA512"),
    ] {
        dse.set("cn=config", name, &[value]);
    }
    let ca = config_dir(server).join("ca.pem");
    dse.set("cn=encryption,cn=config", "CACertExtractFile", &[ca.to_str().unwrap()]);

    let enable = |dse: &mut Dse, plugin: &str| {
        dse.set(&format!("cn={plugin},cn=plugins,cn=config"), "nsslapd-pluginEnabled", &["on"]);
    };
    for plugin in ["Retro Changelog Plugin", "Content Synchronization", "USN"] {
        enable(&mut dse, plugin);
    }
    dse.set(
        "cn=Retro Changelog Plugin,cn=plugins,cn=config",
        "nsslapd-attribute",
        &["nsuniqueid:targetUniqueId", "entryuuid:targetEntryUUID"],
    );
    if options.memberof {
        enable(&mut dse, "MemberOf Plugin");
        dse.set("cn=MemberOf Plugin,cn=plugins,cn=config", "memberOfAutoAddOC", &["nsMemberOf"]);
        enable(&mut dse, "referential integrity postoperation");
    }
    for (name, value) in [
        ("nsslapd-cache-autosize", "0"),
        ("nsslapd-dbcachesize", "33554432"),
        ("nsslapd-db-durable-transaction", "off"),
        ("nsslapd-lookthroughlimit", "-1"),
        ("nsslapd-pagedlookthroughlimit", "-1"),
        ("nsslapd-pagedidlistscanlimit", "-1"),
    ] {
        dse.set("cn=config,cn=ldbm database,cn=plugins,cn=config", name, &[value]);
    }
    dse.add_backend(server);
    dse.text()
}

/// Writes other ports into a dse.ldif.
pub(super) fn set_ports(path: &Path, ldap: u16, ldaps: u16) {
    let mut dse = Dse::parse(&fs::read_to_string(path).unwrap());
    dse.set("cn=config", "nsslapd-port", &[&ldap.to_string()]);
    dse.set("cn=config", "nsslapd-securePort", &[&ldaps.to_string()]);
    fs::write(path, dse.text()).unwrap();
}

/// The entries of a dse.ldif, each as its lines.
struct Dse {
    entries: Vec<Vec<String>>,
}

impl Dse {
    fn parse(text: &str) -> Dse {
        let mut entries: Vec<Vec<String>> = vec![Vec::new()];
        for line in text.lines() {
            if line.trim().is_empty() {
                entries.push(Vec::new());
            } else if let Some(entry) = entries.last_mut() {
                entry.push(line.to_owned());
            }
        }
        entries.retain(|e| !e.is_empty());
        Dse { entries }
    }

    fn from_template(server: &Server, options: &Ds389Options) -> Dse {
        let path = |name: &str| server.path(name).to_str().unwrap().to_owned();
        let config = config_dir(server).to_str().unwrap().to_owned();
        let user = succeed(Command::new(tool("id")).arg("-un")).stdout;
        let user = String::from_utf8(user).unwrap();
        let mut text = fs::read_to_string(packaged(TEMPLATE)).unwrap();
        for (name, value) in [
            ("schema_dir", format!("{config}/schema")),
            ("lock_dir", path("lock")),
            ("tmp_dir", path("tmp")),
            ("cert_dir", config.clone()),
            ("config_dir", config),
            ("ldif_dir", path("ldif")),
            ("bak_dir", path("bak")),
            ("run_dir", path("run")),
            ("inst_dir", path("inst")),
            ("log_dir", path("log")),
            ("db_dir", path("db")),
            ("db_home_dir", path("db")),
            ("db_lib", "bdb".to_owned()),
            ("fqdn", "localhost".to_owned()),
            // Chosen when the server starts.
            ("ds_port", "0".to_owned()),
            // root as well, if that is who runs the tests: no other user could enter the directory.
            ("ds_user", user.trim().to_owned()),
            ("rootdn", "cn=Directory Manager".to_owned()),
            ("ds_passwd", format!("{{CLEAR}}{ADMIN_PASSWORD}")),
            ("ldapi_enabled", "on".to_owned()),
            ("ldapi", path("ldapi")),
            ("ldapi_autobind", "on".to_owned()),
            ("ds_suffix", options.suffix.clone()),
        ] {
            text = text.replace(&format!("%{name}%"), &value);
        }
        Dse::parse(&text)
    }

    /// Gives an entry these values of an attribute and no others.
    fn set(&mut self, dn: &str, name: &str, values: &[&str]) {
        let wanted = format!("dn: {dn}").to_lowercase();
        let entry = self
            .entries
            .iter_mut()
            .find(|e| e.first().is_some_and(|line| line.to_lowercase() == wanted))
            .unwrap_or_else(|| panic!("no entry {dn} in 389 Directory Server's template"));
        let own = format!("{name}:").to_lowercase();
        entry.retain(|line| !line.to_lowercase().starts_with(&own));
        entry.extend(values.iter().map(|value| format!("{name}: {value}")));
    }

    fn add(&mut self, dn: &str, lines: &[&str]) {
        let lines = lines.iter().map(|l| (*l).to_owned());
        self.entries.push(std::iter::once(format!("dn: {dn}")).chain(lines).collect());
    }

    /// The database, its indexes and its place in the tree. ns-slapd makes up none of them by itself.
    fn add_backend(&mut self, server: &Server) {
        let suffix = server.suffix();
        let db = server.path("db/userRoot");
        self.add(
            INSTANCE,
            &[
                "objectClass: top",
                "objectClass: extensibleObject",
                "objectClass: nsBackendInstance",
                "cn: userRoot",
                &format!("nsslapd-suffix: {suffix}"),
                &format!("nsslapd-directory: {}", db.display()),
                "nsslapd-cachememsize: 33554432",
            ],
        );
        self.add(
            &format!("cn=index,{INSTANCE}"),
            &["objectClass: top", "objectClass: extensibleObject", "cn: index"],
        );
        let defaults: Vec<Vec<String>> = self
            .entries
            .iter()
            .filter_map(|entry| {
                let dn = entry.first()?.strip_prefix("dn: ")?;
                let (name, place) = dn.split_once(',')?;
                place.starts_with("cn=default indexes").then(|| {
                    let dn = format!("dn: {name},cn=index,{INSTANCE}");
                    std::iter::once(dn).chain(entry.iter().skip(1).cloned()).collect()
                })
            })
            .collect();
        self.entries.extend(defaults);
        for (name, kind, system) in [
            ("entryUUID", "eq", false),
            ("modifyTimestamp", "eq", false),
            ("entryrdn", "subtree", true),
            ("ancestorid", "eq", true),
        ] {
            self.add(
                &format!("cn={name},cn=index,{INSTANCE}"),
                &[
                    "objectClass: top",
                    "objectClass: nsIndex",
                    &format!("cn: {name}"),
                    &format!("nsSystemIndex: {system}"),
                    &format!("nsIndexType: {kind}"),
                ],
            );
        }
        let escaped = suffix.replace('=', "\\3D").replace(',', "\\2C");
        self.add(
            &format!("cn={escaped},cn=mapping tree,cn=config"),
            &[
                "objectClass: top",
                "objectClass: extensibleObject",
                "objectClass: nsMappingTree",
                &format!("cn: {suffix}"),
                "nsslapd-state: backend",
                "nsslapd-backend: userRoot",
            ],
        );
    }

    fn text(&self) -> String {
        self.entries.iter().map(|e| e.join("\n") + "\n\n").collect()
    }
}
