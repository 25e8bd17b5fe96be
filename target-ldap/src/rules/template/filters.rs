//! The filters of a template: `{name|filter|filter:argument}`.

use std::fmt::Write as _;

use chrono::format::{Item, StrftimeItems};
use ldap_directory::dn::escape_value;
use ldap_directory::nearest::nearest;
use ldap_directory::time::{Zone, read_time_in};

/// The known filters, for messages.
const KNOWN: &str = "`lower`, `upper`, `trim`, `ascii`, `slug`, `first`, `default:text`, `prefix:text`, `suffix:text`, \
                     `date:format`, `escape_dn`";

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
    /// A strftime format of chrono. A time keeps its UTC offset; without one it is in the zone.
    Date(String, Zone),
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

/// A value that `date` cannot parse.
#[derive(Debug)]
pub(super) struct NoDate;

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
            "date" => {
                let format = argument.unwrap_or_default();
                if format.is_empty() {
                    return Err("`date` wants a format: `date:%Y-%m-%d`".into());
                }
                if StrftimeItems::new(format).any(|item| matches!(item, Item::Error)) {
                    return Err(format!(
                        "`{format}` is not a strftime format: `%Y`, `%m`, `%d`, `%H` and so on, and `%%` for a %"
                    )
                    .into());
                }
                return Ok(Self::Date(format.into(), Zone::Utc));
            }
            _ => {
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

    /// Applies the filter to each value, or, for `first` and `default`, to all of them.
    pub(super) fn apply(&self, values: &mut Vec<String>, is_empty: fn(&str) -> bool) -> Result<(), NoDate> {
        let change: fn(&str) -> String = match self {
            Self::Lower => |value| value.to_lowercase(),
            Self::Upper => |value| value.to_uppercase(),
            Self::Trim => |value| value.trim().to_owned(),
            Self::Ascii => |value| deunicode::deunicode_with_tofu(value, ""),
            Self::Slug => |value| slug::slugify(value),
            Self::EscapeDn => |value| escape_value(value.as_bytes()),
            Self::First => {
                values.retain(|value| !is_empty(value));
                values.truncate(1);
                return Ok(());
            }
            Self::Default(text) => {
                if values.iter().all(|value| is_empty(value)) {
                    *values = vec![text.clone()];
                }
                return Ok(());
            }
            Self::Prefix(text) | Self::Suffix(text) => {
                let before = matches!(self, Self::Prefix(_));
                for value in values.iter_mut().filter(|value| !is_empty(value)) {
                    *value = if before {
                        [text, value.as_str()].concat()
                    } else {
                        [value.as_str(), text].concat()
                    };
                }
                return Ok(());
            }
            Self::Date(format, zone) => {
                for value in values.iter_mut().filter(|value| !is_empty(value)) {
                    *value = date(value, format, *zone).ok_or(NoDate)?;
                }
                return Ok(());
            }
        };
        for value in values {
            *value = change(value);
        }
        Ok(())
    }
}

fn date(value: &str, format: &str, zone: Zone) -> Option<String> {
    let time = read_time_in(value.trim(), zone)?;
    let mut out = String::new();
    // `to_string` would panic if a format cannot be rendered; `write!` returns an error.
    write!(out, "{}", time.format(format)).ok()?;
    Some(out)
}
