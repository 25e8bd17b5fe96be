//! A placeholder: the source of a value, and the filters that change it.

use chrono::NaiveDate;
use ldap_directory::time::Zone;

use super::Lookup;
use super::filters::Filter;
use super::path::Path;

/// The first character of a path's key in a [`Lookup`]. No name has it.
const PATH_MARK: char = '\0';

/// The name of today's date, unless a property has that name.
const TODAY: &str = "today";

/// What a run knows of time: the same in all its templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The zone of times that do not name one.
    pub zone: Zone,
    /// The day of the run in that zone; `None`: no template may ask for it.
    pub today: Option<NaiveDate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// The position of its `{`, in characters from 1.
    pub(super) at: usize,
    /// The attribute or property.
    pub(super) name: String,
    /// The name as it is written, with the path.
    pub(super) text: String,
    pub(super) source: Source,
    pub(super) filters: Vec<Filter>,
}

/// Where a placeholder's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// An attribute of the rule, or a property.
    Name { is_quoted: bool },
    /// A part of a property, and what it is looked up by.
    Path { path: Path, key: String },
    /// The day of the run.
    Today(Option<NaiveDate>),
}

impl Source {
    /// Returns the source of a path, as it is written.
    pub(super) fn of_path(path: Path, text: &str) -> Source {
        Source::Path { path, key: format!("{PATH_MARK}{text}") }
    }
}

impl Placeholder {
    /// Whether its values are already escaped for a DN.
    pub(super) fn is_escaped(&self) -> bool {
        matches!(self.filters.last(), Some(Filter::EscapeDn | Filter::OuPath(_) | Filter::Dn))
    }

    /// Whether it is for whole RDNs, as many as its value says.
    pub(super) fn is_rdns(&self) -> bool {
        matches!(self.filters.last(), Some(Filter::OuPath(_) | Filter::Dn))
    }

    /// Whether it may have no value without making the whole empty.
    pub(super) fn is_optional(&self) -> bool {
        let is_optional =
            |f: &Filter| matches!(f, Filter::Prefix(_) | Filter::Suffix(_) | Filter::Default(_));
        self.filters.iter().any(is_optional)
    }

    /// Whether it gives a value for each element of a list.
    pub(super) fn is_list(&self) -> bool {
        let is_one = |f: &Filter| matches!(f, Filter::First | Filter::Join(_) | Filter::OuPath(_));
        matches!(&self.source, Source::Path { path, .. } if path.is_list())
            && !self.filters.iter().any(is_one)
    }

    /// Returns its name, and whether it has a `default`; `None` if it needs nothing of the record.
    pub(super) fn needs(&self) -> Option<(&str, bool)> {
        let has_default = self.filters.iter().any(|filter| matches!(filter, Filter::Default(_)));
        (!matches!(self.source, Source::Today(_))).then_some((&self.name, has_default))
    }

    /// Returns its name, if it stands for a whole value and not for a part of one.
    pub(super) fn whole_name(&self) -> Option<&str> {
        matches!(self.source, Source::Name { .. }).then_some(&self.name)
    }

    /// Returns its values before the filters; `None` if the record lacks the property.
    pub(super) fn found(&self, lookup: Lookup<'_>) -> Option<Vec<String>> {
        match &self.source {
            Source::Name { .. } => lookup(&self.name),
            Source::Path { key, .. } => lookup(key),
            Source::Today(day) => day.map(|day| vec![day.to_string()]),
        }
    }

    /// Returns the path, with its key and its property.
    pub(super) fn path(&self) -> Option<(String, &str, &Path)> {
        match &self.source {
            Source::Path { path, key } => Some((key.clone(), &self.name, path)),
            _ => None,
        }
    }

    /// Sets what the run knows.
    pub(super) fn set_moment(&mut self, moment: Moment) {
        for filter in &mut self.filters {
            if let Filter::Time(_, there) = filter {
                *there = moment;
            }
        }
        if let Source::Today(day) = &mut self.source {
            *day = moment.today;
        }
    }

    /// Decides what an ambiguous name is: a name with `.` or `[` is a property if `is_property` says so, and `today` the day if it does not.
    pub(super) fn resolve(&mut self, is_property: &dyn Fn(&str) -> bool) {
        match &self.source {
            Source::Path { .. } if is_property(&self.text) => {
                self.name.clone_from(&self.text);
                self.source = Source::Name { is_quoted: false };
            }
            Source::Name { is_quoted: false } if self.name == TODAY && !is_property(TODAY) => {
                self.source = Source::Today(None);
            }
            _ => {}
        }
    }
}
