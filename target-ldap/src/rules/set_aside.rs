//! `on_delete` as an object: what a deletion changes of an entry that it keeps, and for how long it keeps it.

use ldap_directory::dn::Dn;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::{SettingsError, check_keys, typed};

use super::rule::{OnDelete, Rule};
use super::rule_settings::{check_attribute, check_fixed, placeholder};

/// The most days: a hundred years.
const MOST_DAYS: u32 = 36_525;

/// What a deletion does to an entry that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetAsideRule {
    /// The values that it sets; null removes an attribute.
    pub set: Vec<(String, Value)>,
    /// The entry below which it moves it.
    pub move_to: Option<String>,
    /// When the entry is deleted for good; `None`: never.
    pub grace: Option<Grace>,
}

/// `then`: an entry that was set aside is deleted after some days, unless its record comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grace {
    /// The days.
    pub days: u32,
    /// The attribute of the marker.
    pub marker: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Then {
    delete_after_days: u32,
    marker: String,
}

impl OnDelete {
    /// Returns the values that a deletion sets.
    pub fn set(&self) -> &[(String, Value)] {
        match self {
            OnDelete::Set(set) => set,
            OnDelete::SetAside(aside) => &aside.set,
            OnDelete::Delete | OnDelete::Ignore | OnDelete::Tree | OnDelete::MoveTo(_) => &[],
        }
    }

    /// Returns the entry below which a deletion moves an entry.
    pub fn move_to(&self) -> Option<&str> {
        match self {
            OnDelete::MoveTo(place) => Some(place),
            OnDelete::SetAside(aside) => aside.move_to.as_deref(),
            OnDelete::Delete | OnDelete::Ignore | OnDelete::Tree | OnDelete::Set(_) => None,
        }
    }

    /// Returns when an entry that was set aside is deleted.
    pub fn grace(&self) -> Option<&Grace> {
        match self {
            OnDelete::SetAside(aside) => aside.grace.as_ref(),
            _ => None,
        }
    }
}

/// Parses `on_delete` as an object. `wrong` makes the error of a form that does not exist.
pub(super) fn parse(
    at: &str,
    object: Map<String, Value>,
    wrong: &dyn Fn(String) -> SettingsError,
) -> Result<OnDelete, SettingsError> {
    check_keys(at, &object, &["move_to", "set", "then", "restore"])?;
    let mut aside = SetAsideRule::default();
    for (name, value) in object {
        match (name.as_str(), value) {
            ("move_to", Value::String(dn)) => aside.move_to = Some(place(dn, wrong)?),
            ("set", Value::Object(values)) if !values.is_empty() => {
                for (attribute, value) in &values {
                    let at = format!("{at}.set.{attribute}");
                    check_attribute(&at, attribute)?;
                    check_fixed(&at, attribute, value)?;
                }
                aside.set = values.into_iter().collect();
            }
            ("then", Value::Object(then)) => aside.grace = Some(grace(&format!("{at}.then"), then)?),
            ("restore", Value::Bool(false)) => {}
            ("restore", Value::Bool(true)) => {
                let problem = "true: this version takes no entry out of a recycle bin";
                let expected = "false, and more days in `then`: until then the same entry comes back";
                return Err(SettingsError::value(format!("{at}.restore"), problem, expected));
            }
            (name, value) => return Err(wrong(format!("got {{\"{name}\": {value}}}"))),
        }
    }
    Ok(match aside {
        SetAsideRule { set, move_to: None, grace: None } if set.is_empty() => {
            return Err(wrong("nothing is said in it".into()));
        }
        SetAsideRule { set, move_to: Some(place), grace: None } if set.is_empty() => OnDelete::MoveTo(place),
        SetAsideRule { set, move_to: None, grace: None } => OnDelete::Set(set),
        aside => OnDelete::SetAside(aside),
    })
}

fn place(dn: String, wrong: &dyn Fn(String) -> SettingsError) -> Result<String, SettingsError> {
    match Dn::parse(&dn) {
        Ok(name) if name.is_empty() => Err(wrong("move_to is empty".into())),
        Ok(_) => match placeholder(&dn) {
            None => Ok(dn),
            Some(found) => {
                Err(wrong(format!("move_to: nothing fills `{found}`: all entries move to one place")))
            }
        },
        Err(e) => Err(wrong(format!("move_to: {e}"))),
    }
}

fn grace(at: &str, then: Map<String, Value>) -> Result<Grace, SettingsError> {
    check_keys(at, &then, &["delete_after_days", "marker"])?;
    let Then { delete_after_days: days, marker } = typed(at, Value::Object(then))?;
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(SettingsError::value(
            format!("{at}.delete_after_days"),
            format!("got {days}"),
            format!("1 to {MOST_DAYS} days; for a deletion at once `on_delete` is \"delete\""),
        ));
    }
    let at = format!("{at}.marker");
    check_attribute(&at, &marker)?;
    if marker.contains(';') || is_secret_attribute(&marker) {
        let problem = format!("got `{marker}`");
        return Err(SettingsError::value(at, problem, MARKER));
    }
    Ok(Grace { days, marker })
}

/// What a marker's attribute must be.
const MARKER: &str = "the name of a text attribute without options that nothing else writes and that the entries may have, for example info (Active Directory) or an attribute of your own schema";

impl Rule {
    /// Checks what `then` needs of the rest of the rule: a place where entries are looked for whose days are over, what bears a marker
    /// out, and what proves whose entry it is.
    pub(super) fn check_grace(&self, path: &str) -> Result<(), SettingsError> {
        if self.on_delete.grace().is_none() {
            return Ok(());
        }
        let wrong = |problem: &str, expected: &str| {
            Err(SettingsError::value(format!("{path}.on_delete.then"), problem, expected))
        };
        let is_value = |(_, value): &(String, Value)| match value {
            Value::Null => false,
            Value::Array(all) => !all.is_empty(),
            _ => true,
        };
        if self.on_delete.move_to().is_none() && self.scope_base.is_none() {
            return wrong(
                "the rule has neither move_to nor scope_base, so entries whose days are over would not be found",
                "scope_base, or move_to in on_delete",
            );
        }
        if self.on_delete.move_to().is_none() && !self.on_delete.set().iter().any(is_value) {
            return wrong(
                "on_delete has neither move_to nor a value in set, so nothing but the marker would say that an entry was set aside",
                "move_to, or a value in set",
            );
        }
        if self.matching.is_none() {
            return wrong(
                "the rule has no match, so another person with the same DN would get the entry of who has left",
                "match with a key that entries have, for example (employeeNumber={id})",
            );
        }
        Ok(())
    }

    /// Checks `then` against the schema: the marker must be readable as it was written, and be found by its value. `takes_unknown`: the
    /// destination stores attributes that its schema does not know. `has_unlisted_classes`: its entries have more classes than they list.
    ///
    /// # Errors
    /// It is not; or `set` takes something away that no marker may keep.
    pub fn check_grace_with(
        &self,
        path: &str,
        schema: &Schema,
        takes_unknown: bool,
        has_unlisted_classes: bool,
    ) -> Result<(), SettingsError> {
        let Some(grace) = self.on_delete.grace() else { return Ok(()) };
        if let Some((name, _)) = self.on_delete.set().iter().find(|(name, _)| is_secret_attribute(name)) {
            return Err(SettingsError::value(
                format!("{path}.on_delete.set.{name}"),
                "a password that is taken away cannot be given back to who comes back: no marker keeps it",
                "an attribute that locks the account, such as nsAccountLock or userAccountControl; or `set` without `then`",
            ));
        }
        let at = format!("{path}.on_delete.then.marker");
        let wrong = |problem: String| Err(SettingsError::value(&at, problem, MARKER));
        let marker = &grace.marker;
        let Some(attribute) = schema.attribute_type(marker) else {
            if takes_unknown || schema.is_assumed() || schema.attribute_types().is_empty() {
                return Ok(());
            }
            let known = schema.attribute_types().iter().flat_map(|a| &a.names).map(String::as_str);
            let near = ldap_directory::nearest::nearest(marker, known);
            return wrong(format!("the schema of the directory has no `{marker}`")).map_err(|e| e.near(near));
        };
        if attribute.no_user_modification || attribute.collective {
            return wrong(format!("`{marker}` is the server's own"));
        }
        if !matches!(ValueKind::of(schema, marker), ValueKind::Text | ValueKind::PossiblyEmptyText) {
            return wrong(format!("`{marker}` is not an attribute of texts"));
        }
        if !schema.has_equality(marker) {
            return wrong(format!("`{marker}` has no EQUALITY rule: its value cannot be compared"));
        }
        if takes_unknown || has_unlisted_classes {
            return Ok(());
        }
        self.check_marker_is_allowed(&at, marker, schema)
    }

    /// The classes that every entry has must allow the marker.
    fn check_marker_is_allowed(&self, at: &str, marker: &str, schema: &Schema) -> Result<(), SettingsError> {
        let is_class = |name: &str| schema.same_description(name, "objectClass");
        let added =
            self.on_delete.set().iter().filter(|(name, _)| is_class(name)).flat_map(
                |(_, value)| match value {
                    Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                    Value::String(one) => vec![one.as_str()],
                    _ => Vec::new(),
                },
            );
        let classes: Vec<&str> = self.object_classes.iter().map(String::as_str).chain(added).collect();
        let is_every = classes.iter().any(|class| class.eq_ignore_ascii_case("extensibleObject"));
        // An operational attribute needs no class.
        if self.object_classes.is_empty()
            || is_every
            || schema.is_operational(marker)
            || classes.iter().any(|class| schema.object_class(class).is_none())
        {
            return Ok(());
        }
        let (must, may) = schema.must_may(classes.iter().copied());
        if must.iter().chain(&may).any(|name| schema.same_description(name, marker)) {
            return Ok(());
        }
        Err(SettingsError::value(
            at,
            format!("no class of the rule allows `{marker}` ({})", classes.join(", ")),
            "an attribute that they allow; or a class that allows it, in object_classes or in on_delete.set.objectClass",
        ))
    }
}
