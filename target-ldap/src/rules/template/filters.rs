//! The filters of a template: `{name|filter|filter:argument}`.

use ldap_directory::dn::{Dn, escape_value};
use ldap_directory::nearest::nearest;
use singer_common::maps::replacement::{LONGEST, Notation, Replacement, ReplacementError};

use super::placeholder::Moment;
use super::times::TimeFilter;

/// The known filters, for messages.
const KNOWN: &str = "`lower`, `upper`, `title`, `trim`, `ascii`, `slug`, `left:5`, `right:5`, `replace:/pattern/text/`, `number`, \
                     `first`, `join:, `, `default:text`, `prefix:text`, `suffix:text`, `date:format`, `read_date:format`, `add:14d`, \
                     `epoch`, `days_until`, `days_since`, `escape_dn`, `ou_path:/`, `dn`";

/// The most organizational units of a path.
const DEEPEST: usize = 32;

/// A filter, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Lower,
    Upper,
    Trim,
    /// Transliterates to ASCII; characters without a transliteration are left out.
    Ascii,
    /// Lower-case ASCII words joined by `-`.
    Slug,
    /// Capital letters at the start of words.
    Title,
    /// The first characters.
    Left(usize),
    /// The last characters.
    Right(usize),
    /// Replaces what a pattern finds.
    Replace(Replacement),
    /// A whole number without leading zeros.
    Number,
    /// All values that are not empty, with a text between them.
    Join(String),
    /// Selects the first value that is not empty.
    First,
    /// The text to use if no value is non-empty.
    Default(String),
    /// The text before a value that is not empty.
    Prefix(String),
    /// The text after a value that is not empty.
    Suffix(String),
    /// Escapes for a DN (RFC 4514 section 2.4).
    EscapeDn,
    /// The organizational units of a path, from the top: the text is split at the separator, if there is one.
    OuPath(Option<String>),
    /// A whole DN, as it is.
    Dn,
    /// A date or a time.
    Time(TimeFilter, Moment),
}

/// The problem with a placeholder.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) message: String,
    /// The known filter that is nearest to an unknown one.
    pub(super) nearest: Option<String>,
}

impl<T: Into<String>> From<T> for Wrong {
    fn from(message: T) -> Self {
        Self { message: message.into(), nearest: None }
    }
}

/// Why a value is not what its filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    Date,
    Number,
    Dn,
    /// A path with an empty part between others.
    Gap,
    TooLong,
}

impl Filter {
    /// Parses `name` or `name:argument`. Spaces around the name are ignored; in an argument they count.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name.trim(), Some(argument)),
            None => (text.trim(), None),
        };
        let plain = match name {
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "trim" => Self::Trim,
            "ascii" => Self::Ascii,
            "slug" => Self::Slug,
            "first" => Self::First,
            "escape_dn" => Self::EscapeDn,
            "prefix" | "suffix" => {
                let text = argument.filter(|text| !text.is_empty());
                let text =
                    text.ok_or_else(|| format!("`{name}` wants a text, which may be a space: `{name}:, `"))?;
                let affix = if name == "prefix" { Self::Prefix } else { Self::Suffix };
                return Ok(affix(text.into()));
            }
            "default" => {
                let text = argument.ok_or("`default` wants a text: `default:none`")?;
                return Ok(Self::Default(text.into()));
            }
            "title" => Self::Title,
            "number" => Self::Number,
            "dn" => Self::Dn,
            "left" | "right" => {
                let count =
                    argument.and_then(|said| said.trim().parse::<usize>().ok()).filter(|count| *count > 0);
                let count = count
                    .ok_or_else(|| format!("`{name}` wants a number of characters, from 1: `{name}:20`"))?;
                return Ok(if name == "left" { Self::Left(count) } else { Self::Right(count) });
            }
            "join" => {
                let text = argument.ok_or("`join` wants the text between values: `join:, `")?;
                return Ok(Self::Join(text.into()));
            }
            "ou_path" => {
                let separator = argument.map(str::to_owned).filter(|text| !text.is_empty());
                return if argument.is_some() && separator.is_none() {
                    Err("`ou_path` wants a separator, `ou_path:/`, or none for a list".into())
                } else {
                    Ok(Self::OuPath(separator))
                };
            }
            "replace" => return Err("`replace` wants a pattern and a text: `replace:/[^0-9]//`".into()),
            _ => {
                if let Some(time) = TimeFilter::parse(name, argument) {
                    return Ok(Self::Time(time?, Moment::default()));
                }
                let known = KNOWN.split('`').skip(1).step_by(2).filter_map(|known| known.split(':').next());
                let nearest = nearest(name, known).map(str::to_owned);
                let message = format!("there is no filter {name:?}: the filters are {KNOWN}");
                return Err(Wrong { message, nearest });
            }
        };
        match argument {
            None => Ok(plain),
            Some(_) => Err(format!("`{name}` takes no argument: write `|{name}`").into()),
        }
    }

    /// Returns the filter `replace`.
    pub(super) fn replace(pattern: &str, with: &str) -> Result<Self, Wrong> {
        if pattern.is_empty() {
            return Err("an empty pattern: `replace:/[^0-9]//` removes what is not a digit".into());
        }
        let built = Replacement::new(pattern, with, Notation::Dollar);
        built.map(Self::Replace).map_err(|error| match error {
            ReplacementError::Pattern(reason) => format!("`{pattern}` is not a regular expression: {reason}").into(),
            ReplacementError::Group { name, groups } => format!(
                "`${name}` is no group of the pattern, which has {groups}: `$1` and `${{name}}` are groups, `$$` is a dollar sign"
            )
            .into(),
        })
    }

    /// Returns why the filter cannot stand where it does. A later filter may remove escapes again.
    pub(super) fn ends_early(&self, is_last: bool) -> Option<&'static str> {
        match self {
            _ if is_last => None,
            Self::EscapeDn => Some("`escape_dn` comes last: what follows it would change what it escaped"),
            Self::OuPath(_) => Some("`ou_path` comes last: its result is a part of a DN"),
            Self::Dn => Some("`dn` comes last: its result is a DN"),
            _ => None,
        }
    }

    /// Applies the filter to each value, or, for `first`, `join`, `default` and `ou_path`, to all of them.
    pub(super) fn apply(&self, values: &mut Vec<String>, is_empty: fn(&str) -> bool) -> Result<(), Misfit> {
        match self {
            Self::First => {
                values.retain(|value| !is_empty(value));
                values.truncate(1);
            }
            Self::Join(between) => {
                values.retain(|value| !is_empty(value));
                if !values.is_empty() {
                    *values = vec![values.join(between)];
                }
            }
            Self::Default(text) => {
                if values.iter().all(|value| is_empty(value)) {
                    *values = vec![text.clone()];
                }
            }
            Self::OuPath(separator) => {
                values.retain(|value| !is_empty(value));
                *values = ou_path(values, separator.as_deref())?.into_iter().collect();
            }
            _ => {
                for value in values.iter_mut() {
                    // An empty text is no value for these.
                    let is_none = is_empty(value)
                        && matches!(
                            self,
                            Self::Prefix(_) | Self::Suffix(_) | Self::Time(..) | Self::Number | Self::Dn
                        );
                    if !is_none {
                        *value = self.change(value)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns a value as the filter changes it.
    fn change(&self, value: &str) -> Result<String, Misfit> {
        let changed = match self {
            Self::Lower => value.to_lowercase(),
            Self::Upper => value.to_uppercase(),
            Self::Title => title(value),
            Self::Trim => value.trim().to_owned(),
            Self::Ascii => deunicode::deunicode_with_tofu(value, ""),
            Self::Slug => slug::slugify(value),
            Self::EscapeDn => escape_value(value.as_bytes()),
            Self::Left(count) => value.chars().take(*count).collect(),
            Self::Right(count) => value.chars().skip(value.chars().count().saturating_sub(*count)).collect(),
            Self::Replace(replacement) => replacement.apply(value).ok_or(Misfit::TooLong)?,
            Self::Number => number(value).ok_or(Misfit::Number)?,
            Self::Prefix(text) => [text, value].concat(),
            Self::Suffix(text) => [value, text].concat(),
            Self::Time(filter, moment) => filter.apply(value, *moment).ok_or(Misfit::Date)?,
            Self::Dn => {
                let dn = value.trim();
                Dn::parse(dn).ok().filter(|dn| !dn.is_empty()).ok_or(Misfit::Dn)?;
                dn.to_owned()
            }
            Self::First | Self::Join(_) | Self::Default(_) | Self::OuPath(_) => value.to_owned(),
        };
        // Only `replace` and `ascii` make a value much longer; a photo in base64 may be long.
        if changed.len() > LONGEST.max(value.len()) { Err(Misfit::TooLong) } else { Ok(changed) }
    }
}

/// Returns a text with capital letters at the start of words, and after one letter and an apostrophe (`O'Hara`).
fn title(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    // The letters of the word so far.
    let mut letters = 0;
    for c in value.chars() {
        if c.is_alphanumeric() {
            if letters == 0 {
                out.extend(c.to_uppercase());
            } else {
                out.extend(c.to_lowercase());
            }
            letters += 1;
            continue;
        }
        out.push(c);
        if !(matches!(c, '\'' | '\u{2019}') && letters > 1) {
            letters = 0;
        }
    }
    out
}

/// Returns a whole number without leading zeros and plus.
fn number(value: &str) -> Option<String> {
    let text = value.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match digits.trim_start_matches('0') {
        "" => Some("0".to_owned()),
        digits => Some([sign, digits].concat()),
    }
}

/// Returns the RDNs of a path of organizational units, from the top. Separators at its ends do not count.
fn ou_path(values: &[String], separator: Option<&str>) -> Result<Option<String>, Misfit> {
    let mut parts: Vec<&str> = Vec::new();
    for value in values {
        match separator {
            Some(separator) => {
                let value = value.trim();
                let value = value.strip_prefix(separator).unwrap_or(value);
                parts.extend(value.strip_suffix(separator).unwrap_or(value).split(separator).map(str::trim));
            }
            None => parts.push(value.trim()),
        }
    }
    if parts.iter().all(|part| part.is_empty()) {
        return Ok(None);
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Misfit::Gap);
    }
    if parts.len() > DEEPEST {
        return Err(Misfit::TooLong);
    }
    let rdns: Vec<String> =
        parts.iter().rev().map(|part| format!("ou={}", escape_value(part.as_bytes()))).collect();
    Ok(Some(rdns.join(",")))
}
