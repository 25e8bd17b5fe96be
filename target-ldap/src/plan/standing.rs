//! Whether an entry is in use, or was set aside by a rule with `on_delete.then`: the one place that decides how far a marker is believed.
//! Pure.
//!
//! A marker is a value that whoever may write the attribute can write. So it is believed only as far as the entry and the rule bear it out:
//! - The entry is where the rule of the marker's stream sets aside: below `move_to`, or, before the move or without one, it has the values of
//!   `set`. Else it is in use, whatever it says.
//! - The former DN is within the scope of that rule.
//! - Only attributes that `set` names are given back.
//! - It is deleted only below `move_to`, with the values of `set`, by the rule of its own stream, and not for a date that is yet to come.

use chrono::{DateTime, TimeDelta, Utc};
use ldap_directory::Vendor;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;

use super::marker::{Marked, Marker, is_marker};
use super::{StepOnAd, step_on_ad};
use crate::map::wanted::{Wanted, WantedAccount, WantedEntry};
use crate::map::{AsideRule, GracePolicy};

/// What an entry is to a rule with `on_delete.then`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is in use, and has no marker.
    InUse,
    /// It is in use, and has a marker that is not believed: the reason.
    Stray(String),
    /// A rule has set it aside.
    Aside(Box<Aside>),
    /// It may have been set aside, and its marker is not borne out: the reason. It is neither deleted nor brought back.
    Doubtful(String),
}

/// What is known of an entry that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Its marker, with the attributes alone that the rule's `set` names.
    pub marker: Marker,
    /// The value of the marker, as the entry has it.
    pub value: Vec<u8>,
    /// Whether the rule itself has set it aside, and not that of another stream.
    pub is_own: bool,
    /// Whether nothing remains to be done: it is below `move_to`, if there is one.
    pub is_complete: bool,
    /// An attribute that has other values than those of the rule's `set`.
    pub differs_in: Option<String>,
    /// Attributes in the marker that the rule's `set` does not name. They stay as they are.
    pub foreign: Vec<String>,
}

/// What the time of an entry that was set aside says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// Its days are not over.
    Runs,
    /// Its days are over.
    Over,
    /// What its deletion began was not completed.
    Unfinished,
    /// It stays, for this reason.
    NotBorneOut(String),
}

impl Aside {
    /// Returns what the rule that set it aside does with it at `now`.
    pub fn term(&self, days: u32, now: DateTime<Utc>) -> Term {
        let since = self.marker.deleted;
        if since > now {
            return Term::NotBorneOut(format!(
                "it was set aside on {}, which is yet to come: the clock of this machine is behind, that of an earlier run was ahead, or somebody else has written it",
                since.date_naive()
            ));
        }
        if !self.is_complete {
            return Term::Unfinished;
        }
        if now - since < TimeDelta::days(days.into()) {
            return Term::Runs;
        }
        match &self.differs_in {
            None => Term::Over,
            Some(name) => Term::NotBorneOut(format!(
                "its days are over, and `{name}` is not as on_delete.set has it: somebody has changed it, the rule has changed, or the bound user may not read it"
            )),
        }
    }
}

/// What says that an entry was set aside by a rule, apart from its marker.
struct Evidence {
    is_at_place: bool,
    differs_in: Option<String>,
    has_values: bool,
}

impl Evidence {
    fn of(rule: &AsideRule, entry: &Entry, schema: &Schema, vendor: Vendor) -> Evidence {
        let key = |dn: &str| DnKey::parse(dn, schema).ok();
        let is_below = |place: &String| {
            let both = key(place).zip(key(&entry.dn));
            both.is_some_and(|(place, own)| own != place && own.is_within(&place))
        };
        let differs_in = rule.set.iter().find(|wanted| differs(wanted, entry, schema, vendor));
        // The absence of values says nothing: any entry may lack them.
        let has_values = differs_in.is_none() && rule.set.iter().any(|wanted| !wanted.values.is_empty());
        Evidence {
            is_at_place: rule.move_to.as_ref().is_some_and(is_below),
            differs_in: differs_in.map(|wanted| wanted.description.clone()),
            has_values,
        }
    }

    fn is_any(&self) -> bool {
        self.is_at_place || self.has_values
    }
}

/// Whether an entry has other values than a deletion sets.
fn differs(wanted: &Wanted, entry: &Entry, schema: &Schema, vendor: Vendor) -> bool {
    let alone = WantedEntry {
        dn: entry.dn.clone(),
        attributes: vec![wanted.clone()],
        account: WantedAccount::default(),
        references: Vec::new(),
    };
    let steps = alone.changes(entry, schema);
    let is_nothing =
        |step| vendor == Vendor::ActiveDirectory && step_on_ad(step, entry, schema) == StepOnAd::Nothing;
    !steps.iter().all(is_nothing)
}

impl GracePolicy {
    /// Returns the attributes that an entry must be read with, so that [`Self::standing`] can decide.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let set = self.rules.values().flatten().flat_map(|rule| &rule.set);
        std::iter::once(self.marker.as_str()).chain(set.map(|wanted| wanted.description.as_str()))
    }

    /// Whether an entry has a value that looks like a marker.
    pub fn is_marked(&self, entry: &Entry, schema: &Schema) -> bool {
        schema.values_of(entry, &self.marker).iter().any(|value| is_marker(value))
    }

    /// Returns what an entry is, as far as it and the rules bear its marker out.
    pub fn standing(&self, entry: &Entry, schema: &Schema, vendor: Vendor) -> Standing {
        let of = |rule: Option<&AsideRule>| rule.map(|rule| Evidence::of(rule, entry, schema, vendor));
        let own = of(self.rule_of(&self.stream));
        let not_borne_out = |reason: String| {
            if own.as_ref().is_some_and(Evidence::is_any) {
                Standing::Doubtful(reason)
            } else {
                Standing::Stray(reason)
            }
        };
        let (marker, value) = match Marked::of(schema.values_of(entry, &self.marker)) {
            Marked::Not => return Standing::InUse,
            Marked::Unknown(reason) => {
                return not_borne_out(format!(
                    "it is not understood ({reason}); another version of target-ldap, or somebody else, may have written it"
                ));
            }
            Marked::Since(marker, value) => (*marker, value),
        };
        let rule = self.rule_of(&marker.stream);
        let (Some(rule), Some(evidence)) = (rule, of(rule)) else {
            return not_borne_out(format!(
                "it is of the stream `{}`, which has no rule with on_delete.then and this marker",
                marker.stream
            ));
        };
        if !evidence.is_any() {
            return not_borne_out(match (&rule.move_to, &evidence.differs_in) {
                (Some(place), _) => format!(
                    "the entry is not below move_to (`{place}`), and has not all values of on_delete.set"
                ),
                (None, name) => format!(
                    "the entry has not the values of on_delete.set ({})",
                    name.as_deref().unwrap_or("it has none")
                ),
            });
        }
        if !is_in_scope(rule, &marker.dn, schema) {
            return Standing::Doubtful(format!(
                "the DN that it names (`{}`) is not within scope_base of the stream `{}`",
                marker.dn, marker.stream
            ));
        }
        let is_named = |name: &str| rule.set.iter().any(|w| schema.same_description(&w.description, name));
        let (set, foreign): (Vec<_>, Vec<_>) =
            marker.set.into_iter().partition(|set| is_named(&set.description));
        Standing::Aside(Box::new(Aside {
            is_own: marker.stream == self.stream,
            marker: Marker { set, ..marker },
            value,
            is_complete: rule.move_to.is_none() || evidence.is_at_place,
            differs_in: evidence.differs_in,
            foreign: foreign.into_iter().map(|set| set.description).collect(),
        }))
    }

    /// Whether a marker with this DN would be believed.
    pub fn may_come_back_to(&self, dn: &str, schema: &Schema) -> bool {
        self.rule_of(&self.stream).is_some_and(|rule| is_in_scope(rule, dn, schema))
    }
}

fn is_in_scope(rule: &AsideRule, dn: &str, schema: &Schema) -> bool {
    let Ok(dn) = DnKey::parse(dn, schema) else { return false };
    let is_within = |base: &String| DnKey::parse(base, schema).is_ok_and(|base| dn.is_within(&base));
    rule.scope.as_ref().is_none_or(is_within)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ldap_directory::entry::Attribute;

    use super::*;
    use crate::plan::marker::{HowSet, SetValues};
    use crate::rules::policy::{Compare, Policy};

    const GONE: &str = "ou=gone,dc=x";

    fn rule(move_to: Option<&str>, set: &[(&str, &[&str])]) -> AsideRule {
        let wanted = |(name, values): &(&str, &[&str])| Wanted {
            description: (*name).to_owned(),
            values: values.iter().map(|v| v.as_bytes().to_vec()).collect(),
            policy: Policy::Force,
            compare: Compare::Schema,
        };
        AsideRule {
            move_to: move_to.map(str::to_owned),
            set: set.iter().map(wanted).collect(),
            scope: Some("ou=people,dc=x".into()),
        }
    }

    fn policy(own: AsideRule) -> GracePolicy {
        let other = rule(Some("ou=former students,dc=x"), &[]);
        GracePolicy {
            stream: "staff".into(),
            marker: "info".into(),
            days: 30,
            move_to: own.move_to.clone(),
            rules: BTreeMap::from([("staff".into(), Some(own)), ("students".into(), Some(other))]),
        }
    }

    fn marker(stream: &str, dn: &str) -> Vec<u8> {
        let replaced = |was: &str, to: &str| HowSet::Replaced { was: vec![was.into()], to: vec![to.into()] };
        let set = [("title", replaced("Clerk", "left")), ("uidNumber", replaced("0", "7"))];
        let set = set.map(|(name, how)| SetValues { description: name.into(), how });
        let deleted = "2001-01-01T00:00:00Z".parse().unwrap();
        Marker { deleted, stream: stream.into(), dn: dn.into(), set: set.into() }.to_value()
    }

    fn standing(policy: &GracePolicy, dn: &str, title: &str, markers: &[Vec<u8>]) -> Standing {
        let attributes =
            vec![Attribute::new("title", vec![title.into()]), Attribute::new("info", markers.to_vec())];
        policy.standing(&Entry { dn: dn.into(), attributes }, Schema::standard(), Vendor::OpenLdap)
    }

    #[test]
    fn a_marker_is_believed_as_far_as_the_entry_and_the_rule_bear_it_out() {
        let (there, away) = ("uid=a,ou=people,dc=x", "uid=a,ou=gone,dc=x");
        let both = policy(rule(Some(GONE), &[("title", &["left"]), ("l", &[])]));
        let placed = policy(rule(Some(GONE), &[]));
        let kept = policy(rule(None, &[("title", &["left"])]));
        let own = [marker("staff", there)];
        let is_aside = |s: &Standing| matches!(s, Standing::Aside(_));
        let is_stray = |s: &Standing| matches!(s, Standing::Stray(_));
        let is_doubtful = |s: &Standing| matches!(s, Standing::Doubtful(_));
        assert_eq!(standing(&both, away, "left", &[b"a note".to_vec()]), Standing::InUse);
        for (policy, dn, title, is_it) in [
            (&both, there, "Clerk", &is_stray as &dyn Fn(&Standing) -> bool),
            (&both, there, "left", &is_aside),
            (&both, away, "Clerk", &is_aside),
            (&placed, there, "left", &is_stray),
            (&placed, away, "left", &is_aside),
            (&placed, GONE, "left", &is_stray),
            (&kept, there, "Clerk", &is_stray),
            (&kept, there, "left", &is_aside),
        ] {
            let found = standing(policy, dn, title, &own);
            assert!(is_it(&found), "{dn} {title}: {found:?}");
        }
        let two = [marker("staff", there), marker("staff", away)];
        let cases: [(&[Vec<u8>], _); 4] = [
            (&two, "two"),
            (&[b"ldap-target:2 x".to_vec()], "of another version"),
            (&[marker("nobody", there)], "of no rule"),
            (&[marker("staff", "uid=root,dc=x")], "from elsewhere"),
        ];
        for (markers, what) in cases {
            assert!(is_doubtful(&standing(&both, away, "left", markers)), "{what}");
            assert!(is_stray(&standing(&both, there, "Clerk", markers)), "{what}");
        }
        // That of another stream is judged by that stream's rule.
        let other = [marker("students", there)];
        assert!(is_doubtful(&standing(&both, away, "left", &other)));
        let Standing::Aside(of_other) = standing(&both, "uid=a,ou=former students,dc=x", "x", &other) else {
            panic!("the students' rule has set it aside")
        };
        assert!(!of_other.is_own);
    }

    #[test]
    fn only_what_the_rule_sets_comes_back_and_only_what_it_has_set_is_deleted() {
        let both = policy(rule(Some(GONE), &[("title", &["left"])]));
        let aside = |dn: &str, title: &str| {
            let Standing::Aside(aside) =
                standing(&both, dn, title, &[marker("staff", "uid=a,ou=people,dc=x")])
            else {
                panic!("it was set aside")
            };
            aside
        };
        let complete = aside("uid=a,ou=gone,dc=x", "left");
        assert_eq!(complete.foreign, ["uidNumber"]);
        assert_eq!(complete.marker.set.len(), 1);
        let at = |time: &str| time.parse().unwrap();
        assert_eq!(complete.term(30, at("2001-01-30T23:59:59Z")), Term::Runs);
        assert_eq!(complete.term(30, at("2001-01-31T00:00:00Z")), Term::Over);
        assert!(matches!(complete.term(30, at("2000-12-31T00:00:00Z")), Term::NotBorneOut(_)));
        let changed = aside("uid=a,ou=gone,dc=x", "Clerk");
        assert!(matches!(changed.term(30, at("2002-01-01T00:00:00Z")), Term::NotBorneOut(_)));
        assert_eq!(
            aside("uid=a,ou=people,dc=x", "left").term(30, at("2002-01-01T00:00:00Z")),
            Term::Unfinished
        );
    }
}
