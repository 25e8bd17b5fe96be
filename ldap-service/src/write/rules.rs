//! The rule of a kind: what `write.mapping_rules` says, completed by defaults for the server at hand.
//!
//! The defaults: the DN is made of the attribute of `userName` (`displayName` for groups), below the base; object classes are those
//! of the server's vendor and of the configured filter; `password` is set by the safest way that the connection allows; `active`
//! locks the account where the server has a lock; a group that must have a member and has none gets a placeholder.

use std::collections::BTreeMap;

use ldap_directory::dn::escape_value;
use ldap_directory::filter::Filter;
use ldap_directory::ldif::LdifFormat;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::time::Zone;
use ldap_directory::{Directory, DirectoryConfig, Vendor, oid};
use serde_json::{Map, Value, json};
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::message::SchemaMessage;
use target_ldap::config::held::HeldSettings;
use target_ldap::config::limits::{Guards, StreamLimits};
use target_ldap::config::protection::ProtectionSettings;
use target_ldap::config::rule_digests::RuleDigests;
use target_ldap::config::{OnError, TargetConfig};
use target_ldap::load::requirements;
use target_ldap::map::Mapping;
use target_ldap::rules::accounts::{AccountLock, BooleanSource, PWD_LAST_SET};
use target_ldap::rules::rule::{EmptyGroup, Rule};

use super::ResourceKind;
use crate::config::{Config, OwnFilter, active_attribute};

/// The value of `scim` that removes a default.
const NONE: &str = "none";

/// The record's property with the password in clear text.
pub const PASSWORD: &str = "password";
/// The record's property with the state of the account.
pub const ACTIVE: &str = "active";

/// Where the entries of a kind are, and how they are named.
#[derive(Debug, Clone)]
pub(crate) struct KindConfig {
    pub(crate) base_dn: String,
    pub(crate) filter: OwnFilter,
    /// SCIM attribute to LDAP attribute.
    scim: Vec<(String, String)>,
    /// `users.login_attributes`.
    logins: Vec<String>,
    /// The configured rule.
    rule: Map<String, Value>,
}

impl KindConfig {
    /// Returns the configuration of a kind; `None` if it is not configured.
    pub(crate) fn of(config: &Config, kind: ResourceKind) -> Option<KindConfig> {
        let rules = config.write.as_ref().map(|write| &write.mapping_rules);
        let rule = rules.and_then(|rules| rules.get(kind.stream())?.as_object().cloned()).unwrap_or_default();
        Some(match kind {
            ResourceKind::Users => {
                let users = &config.users;
                let (base_dn, filter) = (users.base_dn.clone(), users.filter.clone());
                let (scim, logins) = (users.scim.clone(), users.login_attributes.clone());
                KindConfig { base_dn, filter, scim, logins, rule }
            }
            ResourceKind::Groups => {
                let groups = config.groups.as_ref()?;
                let (base_dn, filter) = (groups.base_dn.clone(), groups.filter.clone());
                KindConfig { base_dn, filter, scim: groups.scim.clone(), logins: Vec::new(), rule }
            }
        })
    }

    /// Returns the entry below which the rule moves what is deleted.
    pub(super) fn place_of_deleted(&self) -> Option<&str> {
        self.rule.get("on_delete")?.get("move_to")?.as_str()
    }

    /// Returns the attribute of one's own that marks disabled accounts by FALSE.
    pub(super) fn own_mark(&self) -> Option<&str> {
        active_attribute(&self.scim)
    }

    /// Returns the configured rule. A password is for the client to change, unless the rule says otherwise.
    fn own_rule(&self) -> Map<String, Value> {
        let mut rule = self.rule.clone();
        if let Some(Value::Object(password)) = rule.get_mut("password") {
            password.entry("policy").or_insert_with(|| "force".into());
        }
        rule
    }

    fn mapped(&self, name: &str) -> Option<String> {
        self.scim.iter().find(|(path, _)| path == name).map(|(_, attribute)| attribute.clone())
    }

    /// Returns the attributes that login names are compared with.
    pub(super) fn login_attributes(&self, vendor: Vendor) -> Vec<String> {
        let usual = if vendor == Vendor::ActiveDirectory { "sAMAccountName" } else { "uid" };
        if self.logins.is_empty() { vec![usual.to_owned()] } else { self.logins.clone() }
    }

    /// Returns the attribute that names an entry of the kind for people.
    fn naming(&self, kind: ResourceKind, vendor: Vendor) -> String {
        match kind {
            ResourceKind::Users => {
                let login = || self.login_attributes(vendor).into_iter().next().unwrap_or_default();
                self.mapped("userName").unwrap_or_else(login)
            }
            ResourceKind::Groups => self.mapped("displayName").unwrap_or_else(|| "cn".to_owned()),
        }
    }

    /// Returns the attribute of a group's members: the mapped one, else that of the classes which groups must have.
    fn members(&self) -> String {
        let mapped = self.mapped("members").filter(|attribute| attribute != NONE);
        mapped.unwrap_or_else(|| {
            let mut classes = Vec::new();
            required_classes(self.filter.usual(), &mut classes);
            let own = self.rule.get("object_classes").and_then(Value::as_array).into_iter().flatten();
            classes.extend(own.filter_map(Value::as_str).map(str::to_owned));
            let has = |class: &str| classes.iter().any(|known| known.eq_ignore_ascii_case(class));
            let is_unique = has("groupOfUniqueNames") && !has("groupOfNames");
            if is_unique { "uniqueMember" } else { "member" }.to_owned()
        })
    }

    /// Returns the object classes of new entries.
    fn classes(&self, kind: ResourceKind, vendor: Vendor, schema: &Schema) -> Vec<String> {
        let usual: &[&str] = match (kind, vendor) {
            (ResourceKind::Users, Vendor::ActiveDirectory) => {
                &["top", "person", "organizationalPerson", "user"]
            }
            (ResourceKind::Users, _) => &["top", "person", "organizationalPerson", "inetOrgPerson"],
            (ResourceKind::Groups, Vendor::ActiveDirectory) => &["top", "group"],
            (ResourceKind::Groups, _) if self.members().eq_ignore_ascii_case("uniqueMember") => {
                &["top", "groupOfUniqueNames"]
            }
            (ResourceKind::Groups, _) if self.members().eq_ignore_ascii_case("memberUid") => {
                &["top", "posixGroup"]
            }
            (ResourceKind::Groups, _) => &["top", "groupOfNames"],
        };
        let mut classes: Vec<String> = usual.iter().map(|&class| class.to_owned()).collect();
        // An entry that the configured filter does not match would not be seen again.
        let mut required = Vec::new();
        required_classes(self.filter.on(vendor), &mut required);
        for class in required {
            let has = |name: &String| name.eq_ignore_ascii_case(&class);
            let implied = schema.class_closure(classes.iter().map(String::as_str));
            let is_implied = implied.iter().any(|known| known.names.iter().any(has));
            if !classes.iter().any(has) && !is_implied {
                classes.push(class);
            }
        }
        classes
    }

    /// Returns the default rule, as a setting.
    fn defaults(
        &self,
        kind: ResourceKind,
        directory: &Directory,
        config: &DirectoryConfig,
    ) -> Map<String, Value> {
        let (vendor, schema) = (directory.root_dse().vendor, directory.schema());
        let naming = self.naming(kind, vendor);
        // Active Directory names people and groups by cn.
        let rdn = if vendor == Vendor::ActiveDirectory { "cn" } else { naming.as_str() };
        let base = self.base_dn.replace('{', "{{").replace('}', "}}");
        let mut rule = Map::new();
        rule.insert("dn_template".into(), format!("{rdn}={{{rdn}}},{base}").into());
        rule.insert("object_classes".into(), self.classes(kind, vendor, schema).into());
        rule.insert("scope_base".into(), self.base_dn.clone().into());
        // An existing entry keeps its classes.
        rule.insert("policies".into(), json!({"objectClass": "create_only"}));
        match kind {
            ResourceKind::Users => {
                if let Some(mode) = password_mode(directory, config) {
                    let password = json!({"from": PASSWORD, "mode": mode, "policy": "force"});
                    rule.insert("password".into(), password);
                }
                if AccountLock::of(vendor, schema).is_some() {
                    rule.insert("accounts".into(), json!({"enabled": ACTIVE}));
                }
            }
            ResourceKind::Groups => {
                let placeholder = format!("cn={},{}", escape_value(b"nobody"), self.base_dn);
                rule.insert("empty_group".into(), placeholder.into());
            }
        }
        rule
    }
}

/// Collects the object classes that a filter requires.
fn required_classes(filter: &Filter, classes: &mut Vec<String>) {
    match filter {
        Filter::And(all) => all.iter().for_each(|one| required_classes(one, classes)),
        Filter::Equality { attribute, value } if attribute.eq_ignore_ascii_case("objectClass") => {
            classes.extend(String::from_utf8(value.clone()).ok());
        }
        _ => {}
    }
}

/// Returns the mode in which passwords can be set; `None`: in none.
fn password_mode(directory: &Directory, config: &DirectoryConfig) -> Option<&'static str> {
    let root_dse = directory.root_dse();
    let is_encrypted = config.unencrypted_servers().next().is_none();
    let stays_here = !config.unencrypted_servers().any(ldap_directory::ServerUrl::leaves_this_machine);
    match root_dse.vendor {
        Vendor::ActiveDirectory => is_encrypted.then_some("unicode_pwd"),
        Vendor::Ldif => Some("hash:ssha512"),
        // It sets them over TLS only, and accepts hashed ones of its administrators only.
        Vendor::Ds389 if !is_encrypted => None,
        _ if root_dse.lacks_extension(oid::PASSWORD_MODIFY) || !stays_here => Some("hash:ssha512"),
        _ => Some("exop"),
    }
}

/// The rule of a kind, for one server.
#[derive(Debug)]
pub(crate) struct KindRule {
    pub(crate) kind: ResourceKind,
    pub(crate) rule: Rule,
    /// The attribute that names an entry for people, whose values are unique.
    pub(crate) naming: String,
    /// The attributes whose values people log in with.
    pub(crate) logins: Vec<String>,
    /// The attribute of members.
    pub(crate) members: String,
    pub(crate) base_dn: String,
    /// Whether the object classes are the defaults: then what they require is completed.
    completes: bool,
    /// Whether the DN of a user is the default of Active Directory: named by `cn`, which is not unique.
    pub(crate) has_common_names: bool,
    /// Whether a new user with a password is enabled: the server would add it disabled, unlike others.
    enables: bool,
    directory: DirectoryConfig,
}

impl KindRule {
    /// Returns the rule of a kind.
    ///
    /// # Errors
    /// The rule is not valid, or does not fit the server.
    pub(crate) fn new(
        kind: ResourceKind,
        config: &KindConfig,
        directory: &Directory,
        connection: &DirectoryConfig,
    ) -> Result<KindRule, SettingsError> {
        let path = format!("write.mapping_rules.{}", kind.stream());
        let mut value = config.defaults(kind, directory, connection);
        value.extend(config.own_rule());
        let rule = Rule::parse(&path, Value::Object(value), Some(&config.base_dn))?;
        let vendor = directory.root_dse().vendor;
        let is_ad_user = vendor == Vendor::ActiveDirectory && kind == ResourceKind::Users;
        let this = KindRule {
            kind,
            rule,
            naming: config.naming(kind, vendor),
            logins: config.logins.clone(),
            members: config.members(),
            base_dn: config.base_dn.clone(),
            completes: !config.rule.contains_key("object_classes"),
            has_common_names: is_ad_user && !config.rule.contains_key("dn_template"),
            enables: is_ad_user && !config.rule.contains_key("accounts"),
            directory: connection.clone(),
        };
        let target = this.target_config();
        requirements::check_transport(&target)?;
        requirements::check(&target, directory)?;
        Ok(this)
    }

    /// Checks the form of a configured rule, without a server.
    ///
    /// # Errors
    /// It is not valid.
    pub(crate) fn check(kind: ResourceKind, config: &KindConfig) -> Result<(), SettingsError> {
        let path = format!("write.mapping_rules.{}", kind.stream());
        let mut value = Map::new();
        // `scope_filter` needs it.
        value.insert("scope_base".into(), config.base_dn.clone().into());
        value.extend(config.own_rule());
        let rule = Rule::parse(&path, Value::Object(value), Some(&config.base_dn))?;
        if let Some(reference) = rule.references.first() {
            let at = format!("{path}.references.{}", reference.attribute);
            let problem = "a request names entries by their ids, and nothing is looked up";
            return Err(SettingsError::value(at, problem, "a rule without references"));
        }
        if let Some(chosen) = rule.generated.first() {
            let problem = "the service chooses no values: a request brings them".to_owned();
            let expected = "no `unique` and no `next`: they are settings of target-ldap";
            return Err(SettingsError::value(format!("{path}.{}", chosen.setting()), problem, expected));
        }
        if rule.membership.is_some() {
            let problem = "a request is about an entry, and no row of a stream";
            let expected = "a rule without membership: the members of a group are a property of it";
            return Err(SettingsError::value(format!("{path}.membership"), problem, expected));
        }
        if rule.on_delete.grace().is_some() {
            let problem =
                "the service makes no changes by itself, so nothing would be deleted after these days";
            let expected = "on_delete without `then`; target-ldap has it";
            return Err(SettingsError::value(format!("{path}.on_delete.then"), problem, expected));
        }
        let own_password =
            rule.password.as_ref().filter(|password| password.from.as_deref() != Some(PASSWORD));
        if let Some(password) = own_password {
            let problem = format!(
                "`{}`: no request has such a property",
                password.from.as_deref().unwrap_or("generate")
            );
            return Err(SettingsError::value(format!("{path}.password.from"), problem, PASSWORD));
        }
        let enabled = rule.accounts.as_ref().and_then(|accounts| accounts.enabled.as_ref());
        if let Some(BooleanSource::Always(always)) = enabled {
            let what = if *always { "enable" } else { "disable" };
            let problem = format!("{always}: every change would {what} the account, whatever it is about");
            return Err(SettingsError::value(format!("{path}.accounts.enabled"), problem, ACTIVE));
        }
        Ok(())
    }

    fn target_config(&self) -> TargetConfig {
        TargetConfig {
            maps: None,
            directory: self.directory.clone(),
            default_base_dn: Some(self.base_dn.clone()),
            rules: BTreeMap::from([(self.kind.stream().to_owned(), self.rule.clone())]),
            dn_rewrite: Vec::new(),
            default_timezone: Zone::Utc,
            // A service outlives a day: this is made for each request.
            today: Zone::Utc.today(),
            on_error: OnError::Fail,
            validate_records: false,
            process_activate_version: false,
            activate_when_quiet: None,
            create_parents: false,
            ldif_check: true,
            max_in_flight: 1,
            ldif_format: LdifFormat::Content,
            metrics: false,
            dry_run: false,
            undo: None,
            guards: Guards::default(),
            limits: StreamLimits::default(),
            digests: RuleDigests::default(),
            held: HeldSettings::default(),
            protection: ProtectionSettings::default(),
            assert_unchanged: false,
            preserve_uuid: false,
        }
    }

    /// Returns the attributes that the rule itself writes, though a caller may not: passwords, locks, and what the configuration names.
    pub(crate) fn own_attributes(&self, directory: &Directory) -> Vec<String> {
        let rule = &self.rule;
        let mut own: Vec<String> = Vec::new();
        if rule.password.is_some() {
            own.extend(["userPassword", "unicodePwd"].map(str::to_owned));
        }
        if rule.accounts.is_some() {
            let lock = AccountLock::of(directory.root_dse().vendor, directory.schema());
            own.extend(lock.map(|lock| lock.attribute().to_owned()));
            own.push(PWD_LAST_SET.to_owned());
        }
        own.extend(rule.attribute_mapping.iter().flatten().flat_map(|(_, names)| names.clone()));
        own.extend(rule.values.iter().map(|(name, _)| name.clone()));
        own.extend(rule.defaults.iter().map(|(name, _)| name.clone()));
        own.extend(rule.on_delete.set().iter().map(|(name, _)| name.clone()));
        own
    }

    /// Returns the member of groups that would have none; it is not a real member.
    pub(crate) fn placeholder(&self) -> Option<String> {
        match &self.rule.empty_group {
            EmptyGroup::Placeholder(dn) => Some(dn.clone()),
            _ => None,
        }
    }

    /// Returns the mapping for records with these properties.
    ///
    /// # Errors
    /// The rule does not fit the server's schema.
    pub(crate) fn mapping(
        &self,
        record: &Map<String, Value>,
        directory: &Directory,
    ) -> Result<Mapping, SettingsError> {
        let properties: Map<String, Value> = record.keys().map(|name| (name.clone(), json!({}))).collect();
        let schema = json!({"type": "object", "properties": properties, "additionalProperties": true});
        let message =
            SchemaMessage { stream: self.kind.stream().to_owned(), schema, key_properties: Vec::new() };
        let takes_unknown = directory.takes_unknown_attributes();
        // Warnings are about names that this record does not have.
        Mapping::new(&message, &self.target_config(), directory.schema(), takes_unknown, &mut Vec::new())
    }

    /// Checks that new entries have the object classes that the filter of the kind requires: no list would have them otherwise, and each is
    /// taken back.
    ///
    /// # Errors
    /// They have not.
    pub(crate) fn check_classes(
        &self,
        config: &KindConfig,
        directory: &Directory,
    ) -> Result<(), SettingsError> {
        let mut required = Vec::new();
        required_classes(config.filter.on(directory.root_dse().vendor), &mut required);
        if self.completes || !self.rule.operations.create || directory.schema().is_assumed() {
            return Ok(());
        }
        let own = &self.rule.object_classes;
        let implied = directory.schema().class_closure(own.iter().map(String::as_str));
        let has = |class: &String| {
            own.iter()
                .chain(implied.iter().flat_map(|known| &known.names))
                .any(|name| name.eq_ignore_ascii_case(class))
        };
        let Some(missing) = required.iter().find(|class| !has(class)) else { return Ok(()) };
        let kind = self.kind.stream();
        let problem =
            format!("without `{missing}`, which {kind}.filter requires: each new entry would be taken back");
        let setting = self.kind.rule_setting("object_classes");
        Err(SettingsError::value(setting, problem, format!("the classes of new entries, with {missing}")))
    }

    /// Returns the attributes of a new entry that are its name, unless the record has them.
    pub(crate) fn filled<'s>(&'s self, schema: &'s Schema) -> Vec<&'s str> {
        if !self.completes {
            return Vec::new();
        }
        let classes = self.rule.object_classes.iter().map(String::as_str);
        let (mut must, _) = schema.must_may(classes);
        // Of Active Directory's RDN.
        must.push("cn");
        must.retain(|attribute| {
            let is_text = ValueKind::of(schema, attribute) == ValueKind::Text;
            let is_kept = schema.attribute_type(attribute).is_none_or(|known| known.no_user_modification);
            is_text && !is_kept && !attribute.eq_ignore_ascii_case("objectClass")
        });
        must
    }

    /// Completes a record by what the default object classes require: a text that is missing, or null, is the entry's name.
    pub(crate) fn complete(&self, record: &mut Map<String, Value>, schema: &Schema, is_new: bool) {
        let has_password = record.get(PASSWORD).is_some_and(|password| !password.is_null());
        if self.enables && is_new && has_password && record.get(ACTIVE).is_none_or(Value::is_null) {
            record.insert(ACTIVE.to_owned(), true.into());
        }
        if !self.completes {
            return;
        }
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            _ => false,
        };
        let find = |record: &Map<String, Value>, name: &str| {
            record.keys().find(|property| schema.same_description(property, name)).cloned()
        };
        let name = find(record, &self.naming).and_then(|property| record.get(&property).cloned());
        let name = name.filter(|value| !is_empty(value));
        for attribute in self.filled(schema) {
            let property = find(record, attribute);
            let is_missing = property.as_ref().and_then(|p| record.get(p)).is_none_or(is_empty);
            match (&name, property) {
                (Some(name), property) if is_missing && (is_new || property.is_some()) => {
                    record.insert(property.unwrap_or_else(|| attribute.to_owned()), name.clone());
                }
                (None, Some(property)) if is_missing => {
                    record.shift_remove(&property);
                }
                _ => {}
            }
        }
        if self.kind == ResourceKind::Groups && is_new && find(record, &self.members).is_none() {
            record.insert(self.members.clone(), json!([]));
        }
    }
}

#[cfg(test)]
mod tests;
