//! The fence around what may be written: nothing outside the bases, no protected entry, no protected attribute, be it in a name. Every
//! change passes it, the planned ones and those that are sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::dn::{DnKey, parent};
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use target_ldap::write::gate::ChangeGate;
use target_ldap::write::protection::Protection;

use super::attributes::AttributeGuard;
use super::{ResourceKind, WriteError, WriteErrorKind};

/// Where entries may be written.
#[derive(Debug, Clone)]
pub(crate) struct Territory {
    pub(crate) attributes: AttributeGuard,
    /// The base of each kind.
    pub(crate) bases: Vec<(ResourceKind, DnKey)>,
    /// Entries that are never changed, nor renamed or deleted with an entry above them.
    pub(crate) protected: Vec<DnKey>,
    /// Where `on_delete` moves entries of a kind, be it outside its base.
    pub(crate) places: Vec<(ResourceKind, DnKey)>,
    /// Naming contexts of the server below a base: other databases, whose names merely end alike (Active Directory's `CN=Configuration`).
    pub(crate) contexts: Vec<DnKey>,
    /// Containers whose entries get rights or policies by their place: of domain controllers (Active Directory).
    pub(crate) reserved: Vec<DnKey>,
    /// The entries that `roles` names, with their settings. They keep their names, for others of these names would give the roles.
    pub(crate) named: Vec<(DnKey, String)>,
    /// What the settings protect: it is asked where changes are sent.
    pub(crate) protection: Arc<Protection>,
}

impl Territory {
    pub(crate) fn key(&self, dn: &str) -> Result<DnKey, WriteError> {
        DnKey::parse(dn, &self.attributes.schema)
            .map_err(|e| WriteError::new(WriteErrorKind::Invalid, format!("`{dn}` is not a valid DN: {e}")))
    }

    /// Returns the kinds whose base is the nearest above a DN: none outside the bases, and none for a base itself.
    pub(crate) fn kinds_of(&self, key: &DnKey) -> Vec<ResourceKind> {
        let above = self.bases.iter().filter(|(_, base)| base.is_ancestor_of(key));
        let nearest = above.clone().map(|(_, base)| base.depth()).max();
        above.filter(|(_, base)| Some(base.depth()) == nearest).map(|(kind, _)| *kind).collect()
    }

    /// Checks that an entry with this DN may be of a kind (`None`: of any).
    fn inside(&self, dn: &str, key: &DnKey, kind: Option<ResourceKind>) -> Result<(), WriteError> {
        if self.contexts.iter().any(|context| key.is_within(context)) {
            let detail = format!("`{dn}` is in another naming context of the server than the base");
            return Err(WriteError::new(WriteErrorKind::OutOfScope, detail));
        }
        if self.reserved.iter().any(|container| key.is_within(container)) {
            let detail =
                format!("`{dn}` is in the container of the domain controllers, whose policies count there");
            return Err(WriteError::new(WriteErrorKind::Protected, detail));
        }
        let kinds = self.kinds_of(key);
        if kind.map_or(!kinds.is_empty(), |kind| kinds.contains(&kind)) {
            return Ok(());
        }
        if self.bases.iter().any(|(_, base)| base == key) {
            let detail = format!("`{dn}` is a base of the configuration, and is not changed");
            return Err(WriteError::new(WriteErrorKind::Protected, detail));
        }
        let of = kind.map_or("users.base_dn and groups.base_dn", |kind| match kind {
            ResourceKind::Users => "users.base_dn",
            ResourceKind::Groups => "groups.base_dn",
        });
        Err(WriteError::new(WriteErrorKind::OutOfScope, format!("`{dn}` is not below {of}")))
    }

    /// Checks a change of an entry of a kind (`None`: of any). `own`: protected attributes that the service's rule writes.
    ///
    /// # Errors
    /// It is not made: for the place of the entry, for the entry, or for an attribute.
    pub(crate) fn check(
        &self,
        change: &Change,
        kind: Option<ResourceKind>,
        own: &[String],
    ) -> Result<(), WriteError> {
        let dn = change.dn();
        let key = self.key(dn)?;
        self.inside(dn, &key, kind)?;
        let is_protected = match change {
            Change::Add(_) => false,
            Change::Modify { .. } => self.protected.contains(&key),
            Change::Delete { .. } | Change::Rename { .. } => {
                self.protected.iter().any(|protected| protected.is_within(&key))
            }
        };
        if is_protected {
            let detail = format!(
                "`{dn}` is protected: the service's own entry, a base, or an entry above one of these"
            );
            return Err(WriteError::new(WriteErrorKind::Protected, detail));
        }
        let new_dn = change.new_dn();
        let keeps_name = match &new_dn {
            Some(new) => self.key(new)? == key,
            None => !matches!(change, Change::Delete { .. }),
        };
        if !keeps_name && let Some((_, setting)) = self.named.iter().find(|(named, _)| named.is_within(&key))
        {
            let effect = if setting.ends_with(".filter") {
                "others would be in no list, or in one where they were not, and could log in or not"
            } else {
                "nobody would have the role, and whoever gets the name next would give it"
            };
            let detail =
                format!("{setting} names `{dn}`, or an entry below it: {effect}; change the setting first");
            let error = WriteError::new(WriteErrorKind::NamedInRoles, detail);
            return Err(WriteError { setting: Some(setting.clone()), ..error });
        }
        if let Some(new) = new_dn {
            let new_key = self.key(&new)?;
            let above = self.key(&parent(&new))?;
            if self.places.iter().any(|(of, place)| Some(*of) == kind && *place == above) {
                return self.attributes.check(change, own);
            }
            self.inside(&new, &new_key, kind)?;
            // A user below groups.base_dn is no user any more: that is a deletion which no guard counts.
            let before = self.kinds_of(&key);
            if !self.kinds_of(&new_key).iter().any(|kind| before.contains(kind)) {
                let detail = format!("`{dn}` would leave its base: users stay users, and groups stay groups");
                return Err(WriteError::new(WriteErrorKind::OutOfScope, detail));
            }
        }
        self.attributes.check(change, own)
    }
}

/// The fence of one write.
#[derive(Debug)]
pub(crate) struct Fence {
    territory: Arc<Territory>,
    kind: Option<ResourceKind>,
    /// Protected attributes that the service's rule writes: passwords, locks.
    own: Vec<String>,
    /// The condition of the first change of an entry. Changes of others, such as those below it, have none.
    condition: Mutex<Option<(DnKey, Filter)>>,
    state: Mutex<FenceState>,
    /// Whether changes are kept.
    keeps_changes: bool,
}

#[derive(Debug, Default)]
struct FenceState {
    refusal: Option<WriteError>,
    made: Vec<Change>,
}

impl Fence {
    pub(crate) fn new(territory: Arc<Territory>, kind: Option<ResourceKind>) -> Fence {
        let (condition, state) = (Mutex::default(), Mutex::default());
        Fence { territory, kind, own: Vec::new(), condition, state, keeps_changes: true }
    }

    /// Sets the condition of the first change of an entry. Later changes have none: the first one changes what it is about.
    pub(crate) fn with_condition(self, condition: Option<(DnKey, Filter)>) -> Fence {
        Fence { condition: Mutex::new(condition), ..self }
    }

    fn is_of(&self, key: &DnKey, change: &Change) -> bool {
        self.territory.key(change.dn()).is_ok_and(|of_change| of_change == *key)
    }

    /// Sets the protected attributes that the service's rule writes.
    pub(crate) fn with_own(self, own: Vec<String>) -> Fence {
        Fence { own, ..self }
    }

    /// Does not keep changes, of which an import has many.
    pub(crate) fn forgetting(self) -> Fence {
        Fence { keeps_changes: false, ..self }
    }

    /// Returns what the settings protect.
    pub(crate) fn protection(&self) -> Arc<Protection> {
        self.territory.protection.clone()
    }

    fn state(&self) -> MutexGuard<'_, FenceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why it refused a change.
    pub(crate) fn refusal(&self) -> Option<WriteError> {
        self.state().refusal.take()
    }

    /// Whether an entry was deleted, or may have been.
    pub(crate) fn has_deleted(&self) -> bool {
        self.state().made.iter().any(|change| matches!(change, Change::Delete { .. }))
    }

    /// Returns the changes that were made, or may have been.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.state().made.clone()
    }
}

impl ChangeGate for Fence {
    fn admit(&self, change: &Change) -> Result<Option<Filter>, DirectoryError> {
        if let Err(refusal) = self.territory.check(change, self.kind, &self.own) {
            let text = refusal.detail.clone();
            self.state().refusal = Some(refusal);
            return Err(DirectoryError::Operation {
                operation: change.operation(),
                dn: change.dn().to_owned(),
                code: result_code::INSUFFICIENT_ACCESS_RIGHTS,
                matched: String::new(),
                text,
            });
        }
        let condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        let condition = condition.as_ref().filter(|(key, _)| self.is_of(key, change));
        Ok(condition.map(|(_, filter)| filter.clone()))
    }

    fn made(&self, change: &Change, result: &Result<(), DirectoryError>) {
        if result.as_ref().is_err_and(|e| !e.is_outcome_unknown()) {
            return;
        }
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|(key, _)| self.is_of(key, change));
        if self.keeps_changes {
            self.state().made.push(change.clone());
        }
    }

    fn misplaced(&self, _dn: &str, problem: &str) {
        self.state().refusal = Some(WriteError::new(WriteErrorKind::Internal, problem));
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::change::{Modification, ModificationKind};
    use ldap_directory::entry::{Attribute, Entry};
    use ldap_directory::schema::Schema;
    use ldap_directory::secret::SecretAttributes;

    use super::*;

    fn territory() -> Territory {
        let schema = Arc::new(Schema::standard().clone());
        let key = |dn: &str| DnKey::parse(dn, &schema).unwrap();
        let bases = vec![
            (ResourceKind::Users, key("ou=people,dc=x")),
            (ResourceKind::Groups, key("ou=groups,ou=people,dc=x")),
        ];
        let protected = vec![
            key("ou=people,dc=x"),
            key("ou=groups,ou=people,dc=x"),
            key("uid=service,ou=staff,ou=people,dc=x"),
        ];
        let secrets = SecretAttributes::of(&["employeeNumber".to_owned()], &schema);
        let attributes = AttributeGuard { schema: schema.clone(), secrets, takes_unknown: false };
        let places = vec![(ResourceKind::Users, key("ou=left,dc=x"))];
        let contexts = vec![key("cn=configuration,ou=people,dc=x")];
        let reserved = vec![key("ou=controllers,ou=people,dc=x")];
        let named = vec![
            (key("cn=admins,ou=teams,ou=groups,ou=people,dc=x"), "roles[0].groups[1]".to_owned()),
            (key("ou=roles,ou=groups,ou=people,dc=x"), "roles[1].below".to_owned()),
        ];
        let protection = Protection::none();
        Territory { attributes, bases, protected, places, contexts, reserved, named, protection }
    }

    fn modify(dn: &str) -> Change {
        let step = Modification::new(ModificationKind::Replace, "mail", vec![b"a@x".to_vec()]);
        Change::Modify { dn: dn.into(), changes: vec![step] }
    }

    fn rename(dn: &str, new_rdn: &str, above: Option<&str>) -> Change {
        let new_superior = above.map(str::to_owned);
        Change::Rename { dn: dn.into(), new_rdn: new_rdn.into(), delete_old_rdn: true, new_superior }
    }

    #[test]
    fn nothing_outside_the_bases_and_no_protected_entry_is_written() {
        use ResourceKind::{Groups, Users};
        use WriteErrorKind::{Invalid, OutOfScope, Protected};
        let territory = territory();
        let add = |dn: &str| Change::Add(Entry { dn: dn.into(), attributes: vec![] });
        let delete = |dn: &str| Change::Delete { dn: dn.into() };
        let ada = "uid=ada,ou=people,dc=x";
        for (change, kind, expected) in [
            (add(ada), Some(Users), None),
            (add("UID=Ada, OU=People, DC=X"), Some(Users), None),
            (add(ada), Some(Groups), Some(OutOfScope)),
            (add(ada), None, None),
            (add("uid=ada,ou=other,dc=x"), None, Some(OutOfScope)),
            (add("uid=ada,ou=people,dc=xx"), None, Some(OutOfScope)),
            (add("uid=ada\\,ou=people\\,dc=x"), None, Some(OutOfScope)),
            (add("cn=a,cn=configuration,ou=people,dc=x"), None, Some(OutOfScope)),
            (modify("cn=configuration,ou=people,dc=x"), Some(Users), Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("ou=Controllers,ou=people,dc=x")), None, Some(Protected)),
            (add("cn=a,ou=b,ou=controllers,ou=people,dc=x"), Some(Users), Some(Protected)),
            (add("no dn"), None, Some(Invalid)),
            (modify("ou=people,dc=x"), Some(Users), Some(Protected)),
            (modify("dc=x"), None, Some(OutOfScope)),
            (modify("ou=groups,ou=people,dc=x"), None, Some(Protected)),
            (delete("ou=groups,ou=people,dc=x"), Some(Users), Some(Protected)),
            (modify("cn=a,ou=groups,ou=people,dc=x"), Some(Groups), None),
            (modify("cn=a,ou=groups,ou=people,dc=x"), Some(Users), Some(OutOfScope)),
            (modify("uid=service,ou=staff,ou=people,dc=x"), Some(Users), Some(Protected)),
            (modify("ou=staff,ou=people,dc=x"), Some(Users), None),
            (delete("ou=staff,ou=people,dc=x"), Some(Users), Some(Protected)),
            (rename("ou=staff,ou=people,dc=x", "ou=s", None), None, Some(Protected)),
            (rename(ada, "uid=ida", None), Some(Users), None),
            (rename(ada, "uid=ada", Some("ou=gone,dc=x")), Some(Users), Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("OU=Left,dc=x")), Some(Users), None),
            (rename(ada, "uid=ada", Some("ou=a,ou=left,dc=x")), Some(Users), Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("ou=left,dc=x")), Some(Groups), Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("ou=left,dc=x")), None, Some(OutOfScope)),
            (rename("uid=ada,ou=left,dc=x", "uid=a", Some("ou=left,dc=x")), Some(Users), Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("ou=groups,ou=people,dc=x")), Some(Users), Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("ou=groups,ou=people,dc=x")), None, Some(OutOfScope)),
            (rename(ada, "uid=ada", Some("ou=staff,ou=people,dc=x")), None, None),
            (rename(ada, "uid=a\\00b", None), None, Some(Invalid)),
            (add("uid=a\\0d\\0ab,ou=people,dc=x"), None, Some(Invalid)),
        ] {
            let found = territory.check(&change, kind, &[]).err().map(|e| e.kind);
            assert_eq!(found, expected, "{change:?} as {kind:?}");
        }
    }

    #[test]
    fn what_roles_name_keeps_its_name() {
        let territory = territory();
        let named = |change: &Change| match territory.check(change, None, &[]) {
            Ok(()) => None,
            Err(error) => {
                assert_eq!(
                    (error.kind, error.kind.status()),
                    (WriteErrorKind::NamedInRoles, 409),
                    "{change:?}"
                );
                error.setting
            }
        };
        let delete = |dn: &str| Change::Delete { dn: dn.into() };
        let groups = "ou=groups,ou=people,dc=x";
        let admins = format!("CN=Admins, OU=Teams,{groups}");
        let (teams, roles) = (format!("ou=teams,{groups}"), format!("ou=roles,{groups}"));
        let (group, below) = (Some("roles[0].groups[1]".to_owned()), Some("roles[1].below".to_owned()));
        for (change, expected) in [
            (delete(&admins), &group),
            (delete(&teams), &group),
            (rename(&admins, "cn=bosses", None), &group),
            (rename(&admins, "cn=admins", Some(groups)), &group),
            (rename(&teams, "ou=t", None), &group),
            (delete(&roles), &below),
            (rename(&roles, "ou=r", None), &below),
            (modify(&admins), &None),
            (rename(&admins, "cn=ADMINS", None), &None),
            (rename(&teams, "ou=Teams", None), &None),
            (delete(&format!("cn=a,{roles}")), &None),
            (delete(&format!("cn=x,{admins}")), &None),
            (delete(&format!("cn=admins,{groups}")), &None),
        ] {
            assert_eq!(&named(&change), expected, "{change:?}");
        }
    }

    #[test]
    fn no_protected_attribute_is_written_in_any_way() {
        let territory = territory();
        let attributes = [
            "userPassword",
            "USERPASSWORD",
            "2.5.4.35",
            "OID.2.5.4.35",
            "userPassword;x-a",
            "employeeNumber",
            "2.16.840.1.113730.3.1.3",
            "pwdAccountLockedTime",
            "creatorsName",
            "entryUUID",
            "memberOf",
            "nTSecurityDescriptor",
            "servicePrincipalName",
            "scriptPath",
            "1.2.3.4.5",
            "nobodyKnowsIt",
        ];
        let check = |change: &Change, own: &[String]| territory.check(change, None, own).map_err(|e| e.kind);
        let ada = "uid=ada,ou=people,dc=x";
        let add = |rdn: &str, attribute: &str| {
            let attributes = vec![Attribute::new(attribute, vec![b"x".to_vec()])];
            Change::Add(Entry { dn: format!("{rdn},ou=people,dc=x"), attributes })
        };
        let step = |name: &str| {
            let step = Modification::new(ModificationKind::Delete, name, vec![]);
            Change::Modify { dn: ada.into(), changes: vec![step] }
        };
        assert_eq!(check(&add("uid=a+cn=b", "mail"), &[]), Ok(()));
        assert_eq!(check(&rename(ada, "uid=a+cn=b", None), &[]), Ok(()));
        for name in attributes {
            let own = [name.to_owned()];
            let mut named = vec![
                add("uid=a", name),
                step(name),
                add(&format!("{name}=x"), "mail"),
                add(&format!("uid=a+{name}=x"), "mail"),
                rename(ada, &format!("{name}=x"), None),
                rename(ada, &format!("uid=a+{name}=x"), None),
            ];
            let is_name = !name.contains(';');
            if !is_name {
                named.truncate(2);
            }
            for (n, change) in named.iter().enumerate() {
                assert_eq!(check(change, &[]), Err(WriteErrorKind::Mutability), "{change:?}");
                // The rule's own passwords and locks; never in a name.
                let expected = if n < 2 { Ok(()) } else { Err(WriteErrorKind::Mutability) };
                assert_eq!(check(change, &own), expected, "{change:?}");
            }
        }
        let named = "uid=ada+userPassword=hi,ou=people,dc=x";
        assert_eq!(check(&rename(named, "uid=ada", None), &[]), Err(WriteErrorKind::Mutability));
        let conflict = "entryUUID=1-2+uid=ada,ou=people,dc=x";
        assert_eq!(check(&rename(conflict, "uid=ada", None), &[]), Ok(()));
        assert_eq!(check(&Change::Delete { dn: named.into() }, &[]), Ok(()), "a deletion");
    }

    #[test]
    fn flags_that_grant_rights_are_given_in_no_way() {
        let mut territory = territory();
        // Of Active Directory's schema.
        territory.attributes.takes_unknown = true;
        let check = |change: &Change, own: &[String]| territory.check(change, None, own).map_err(|e| e.kind);
        let ada = "uid=ada,ou=people,dc=x";
        let step = |kind, value: &str| {
            let step = Modification::new(kind, "USERAccountControl", vec![value.into()]);
            Change::Modify { dn: ada.into(), changes: vec![step] }
        };
        let add = |value: &str| {
            let attributes = vec![Attribute::new("userAccountControl", vec![value.into()])];
            Change::Add(Entry { dn: ada.into(), attributes })
        };
        let refused = Err(WriteErrorKind::Mutability);
        for change in [
            add("524800"),
            step(ModificationKind::Add, "4194816"),
            step(ModificationKind::Replace, "16777728"),
            step(ModificationKind::Increment, "1"),
            rename(ada, "userAccountControl=524800", None),
        ] {
            assert_eq!(check(&change, &[]), refused, "{change:?}");
        }
        let own = ["userAccountControl".to_owned()];
        let granting = step(ModificationKind::Replace, "524800");
        assert_eq!(check(&granting, &[]), refused);
        assert_eq!(check(&granting, &own), Ok(()), "the rule keeps the flags that are there");
        for change in
            [add("512"), step(ModificationKind::Replace, "514"), step(ModificationKind::Delete, "524800")]
        {
            assert_eq!(check(&change, &[]), Ok(()), "{change:?}");
        }
    }

    #[test]
    fn the_condition_is_that_of_the_first_change_that_was_made() {
        let condition = Filter::equality("entryCSN", "1");
        let fence = Fence::new(Arc::new(territory()), Some(ResourceKind::Users));
        let key = fence.territory.key("UID=Ada, ou=people,dc=x").unwrap();
        let fence = fence.with_condition(Some((key, condition.clone())));
        let change = modify("uid=ada,ou=people,dc=x");
        let below = Change::Delete { dn: "cn=phone,uid=ada,ou=people,dc=x".into() };
        assert_eq!(fence.admit(&below).unwrap(), None, "the condition is not about it");
        fence.made(&below, &Ok(()));
        assert_eq!(fence.admit(&change).unwrap(), Some(condition.clone()));
        let refused = fence.territory.check(&modify("dc=x"), None, &[]);
        assert!(refused.is_err() && fence.admit(&modify("dc=x")).is_err());
        assert_eq!(fence.refusal().unwrap().kind, WriteErrorKind::OutOfScope);
        let failed = DirectoryError::Operation {
            operation: "modify",
            dn: String::new(),
            code: 16,
            matched: String::new(),
            text: String::new(),
        };
        fence.made(&change, &Err(failed));
        assert_eq!(fence.admit(&change).unwrap(), Some(condition), "it was not made");
        fence.made(&change, &Ok(()));
        assert_eq!(fence.admit(&change).unwrap(), None);
        assert_eq!(fence.changes(), [below, change]);
    }
}
