//! Checks that a template is a valid DN or filter for all values of its placeholders.
//!
//! There are two checks. A walk over the literal text finds the position of each placeholder, and reports those in the wrong
//! place. Then the parsers read the template, filled with innocent and with hostile text.

use ldap_directory::dn::{self, Dn};
use ldap_directory::filter;

use super::{Piece, Placeholder, Template, TemplateError, filters::Filter};

/// A value that would change a DN or a filter if it were not escaped.
const HOSTILE: &str = " #a,b+c=d;\"e\\<f>*()\0 ";

/// The most optional parts of a DN: each may be there or not.
const MOST_PARTS: u32 = 6;

impl Template {
    /// Fills every placeholder with the same text, for checks. Optional parts are there.
    pub(super) fn fill(&self, with: &str) -> String {
        self.fill_by(|_, out| out.push_str(with))
    }

    /// The same for a DN: what stands for whole RDNs becomes one.
    pub(super) fn fill_dn(&self, with: &str) -> String {
        self.fill_by(|placeholder, out| {
            if placeholder.is_rdns() {
                out.push_str("ou=");
            }
            out.push_str(with);
        })
    }

    fn fill_by(&self, fill: impl Fn(&Placeholder, &mut String)) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(placeholder) => fill(placeholder, &mut out),
                Piece::Open | Piece::Close => {}
            }
        }
        out
    }
}

/// Checks that a DN has placeholders only in attribute values, or for whole RDNs, with and without its optional parts.
pub(super) fn check_dn(template: &Template) -> Result<(), TemplateError> {
    if template.text.trim().is_empty() {
        return Err(
            template.error(1, "an empty name: write a distinguished name, as in `uid={uid},ou=people,dc=x`")
        );
    }
    check_defaults(template)?;
    check_whole_rdns(template)?;
    let count = u32::try_from(template.pieces.iter().filter(|piece| **piece == Piece::Open).count());
    let Some(count) = count.ok().filter(|count| *count <= MOST_PARTS) else {
        return Err(template.error(1, format!("more than {MOST_PARTS} optional parts in a DN")));
    };
    let whole = variant(template, 0);
    check_variant(&whole)?;
    let naming = |template: &Template| -> Option<Vec<String>> {
        let dn = Dn::parse(&template.fill_dn("x")).ok()?;
        dn.rdn().map(|rdn| rdn.avas.iter().map(|ava| ava.attribute.to_ascii_lowercase()).collect())
    };
    for left_out in 1..1_u32 << count {
        let variant = variant(template, left_out);
        check_variant(&variant).map_err(|error| TemplateError {
            message: format!("{}; without an optional part", error.message),
            ..error
        })?;
        if naming(&variant) != naming(&whole) {
            let message = "without an optional part, entries would be named by another attribute: the first RDN is not optional";
            return Err(template.error(1, message));
        }
    }
    Ok(())
}

/// Returns a template without markers of optional parts, and without those parts whose bit is set.
fn variant(template: &Template, left_out: u32) -> Template {
    let mut pieces = Vec::new();
    let (mut part, mut is_left_out) = (0, false);
    for piece in &template.pieces {
        match piece {
            Piece::Open => {
                is_left_out = left_out >> part & 1 == 1;
                part += 1;
            }
            Piece::Close => is_left_out = false,
            Piece::Literal(_) | Piece::Placeholder(_) if is_left_out => {}
            piece => pieces.push(piece.clone()),
        }
    }
    Template { text: template.text.clone(), pieces }
}

/// Checks that a placeholder for whole RDNs stands between commas, and that the own DN of a record is not all.
fn check_whole_rdns(template: &Template) -> Result<(), TemplateError> {
    let pieces: Vec<&Piece> =
        template.pieces.iter().filter(|piece| !matches!(piece, Piece::Open | Piece::Close)).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let Piece::Placeholder(placeholder) = piece else { continue };
        if !placeholder.is_rdns() {
            continue;
        }
        if n == 0 && placeholder.filters.last() == Some(&Filter::Dn) {
            let message = "`dn` is for what stands above an entry, as in `cn={cn},{parent|dn}`: to use a record's own `dn`, leave the template out";
            return Err(template.error(placeholder.at, message));
        }
        let before = n.checked_sub(1).and_then(|n| pieces.get(n));
        let is_begin = before.is_none_or(
            |piece| matches!(piece, Piece::Literal(text) if text.trim_end().ends_with([',', ';'])),
        );
        let is_end = pieces.get(n + 1).is_none_or(
            |piece| matches!(piece, Piece::Literal(text) if text.trim_start().starts_with([',', ';'])),
        );
        if !is_begin || !is_end {
            let message = format!("`{{{}}}` makes whole RDNs: it stands between commas", placeholder.text);
            return Err(template.error(placeholder.at, message));
        }
    }
    Ok(())
}

/// Checks a DN without optional parts.
fn check_variant(template: &Template) -> Result<(), TemplateError> {
    walk(template, DnPosition::Type)?;
    let innocent = Dn::parse(&template.fill_dn("x")).map_err(|error| {
        let note = "this is not a distinguished name (RFC 4514); with `x` for each placeholder";
        template.error(1, format!("{note}: {error}"))
    })?;
    let hostile = Dn::parse(&template.fill_dn(&dn::escape_value(HOSTILE.as_bytes()))).ok();
    let shape = |dn: &Dn| -> Vec<Vec<String>> {
        dn.rdns.iter().map(|rdn| rdn.avas.iter().map(|ava| ava.attribute.clone()).collect()).collect()
    };
    if hostile.is_none_or(|hostile| shape(&hostile) != shape(&innocent)) {
        return Err(template.error(1, "a placeholder stands where its value cannot be escaped"));
    }
    Ok(())
}

/// Checks that a filter has placeholders only in assertion values.
pub(super) fn check_filter(template: &Template) -> Result<(), TemplateError> {
    check_defaults(template)?;
    if template.has_parts() {
        return Err(template.error(1, "an optional part in a filter: without it, it would be another filter"));
    }
    walk(template, FilterPosition::Attribute)?;
    filter::Filter::parse(&template.fill("x")).map_err(|error| {
        let note = "this is not a search filter (RFC 4515); with `x` for each placeholder";
        template.error(1, format!("{note}: {error}"))
    })?;
    if filter::Filter::parse(&template.fill(&filter::escape_value(HOSTILE.as_bytes()))).is_err() {
        return Err(template.error(1, "a placeholder stands where its value cannot be escaped"));
    }
    Ok(())
}

/// Checks for an empty `default:`, which always fails in a DN or a filter.
fn check_defaults(template: &Template) -> Result<(), TemplateError> {
    let blank = |p: &&Placeholder| {
        p.filters.iter().any(|f| matches!(f, Filter::Default(text) if text.trim().is_empty()))
    };
    match template.placeholders().find(blank) {
        None => Ok(()),
        Some(p) => Err(template.error(p.at, "an empty `default` is no value here: write `default:text`")),
    }
}

/// A position in the syntax.
trait Position: Sized + Copy {
    /// Returns the position after one more character that is not part of an escape.
    fn after(self, c: char) -> Self;
    /// Returns the position after an escape, or a placeholder.
    fn after_value(self) -> Self;
    /// Returns the position after a placeholder for whole RDNs; `None` if it is not allowed here.
    fn after_rdns(self) -> Option<Self>;
    /// Returns why a placeholder is not allowed here.
    fn objection(self) -> Option<&'static str>;
    /// Whether a backslash escapes here, and if so, whether one character may follow instead of two digits.
    fn escapes(self) -> Option<bool>;
}

/// Walks the literal text, and checks at each placeholder whether it is allowed.
fn walk<P: Position>(template: &Template, mut place: P) -> Result<(), TemplateError> {
    for (index, piece) in template.pieces.iter().enumerate() {
        let text = match piece {
            Piece::Placeholder(placeholder) if placeholder.is_rdns() && place.after_rdns().is_some() => {
                place = place.after_rdns().unwrap_or(place);
                continue;
            }
            Piece::Placeholder(placeholder) => {
                if let Some(objection) = place.objection() {
                    return Err(
                        template.error(placeholder.at, format!("`{{{}}}` {objection}", placeholder.text))
                    );
                }
                place = place.after_value();
                continue;
            }
            Piece::Literal(text) => text,
            Piece::Open | Piece::Close => continue,
        };
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let Some(single) = place.escapes().filter(|_| c == '\\') else {
                place = place.after(c);
                continue;
            };
            let complete = match chars.next() {
                Some(first) if first.is_ascii_hexdigit() => {
                    chars.next().is_some_and(|c| c.is_ascii_hexdigit())
                }
                first => single && first.is_some(),
            };
            if !complete {
                let at = template.pieces.iter().skip(index).find_map(|piece| match piece {
                    Piece::Placeholder(placeholder) => Some(placeholder.at),
                    Piece::Literal(_) | Piece::Open | Piece::Close => None,
                });
                let message = "`\\` wants two hex digits, or in a DN a special character, and no placeholder; \
                               values are escaped without it";
                return Err(template.error(at.unwrap_or(1), message));
            }
            place = place.after_value();
        }
    }
    Ok(())
}

/// A position in a DN (RFC 4514 section 3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum DnPosition {
    /// In an attribute type, or before it.
    Type,
    /// After `=`, before the value.
    Start,
    /// In a value.
    Value,
    /// In a quoted value (RFC 2253 section 4).
    Quoted,
    /// In a hexstring value.
    Hex,
}

impl Position for DnPosition {
    fn after(self, c: char) -> Self {
        match (self, c) {
            (Self::Type, '=') | (Self::Start, ' ') => Self::Start,
            (Self::Type, _) | (Self::Start | Self::Value | Self::Hex, ',' | ';' | '+') => Self::Type,
            (Self::Start, '"') => Self::Quoted,
            (Self::Start, '#') => Self::Hex,
            (Self::Start | Self::Value, _) | (Self::Quoted, '"') => Self::Value,
            (place, _) => place,
        }
    }

    fn after_value(self) -> Self {
        if self == Self::Start { Self::Value } else { self }
    }

    fn after_rdns(self) -> Option<Self> {
        (self == Self::Type).then_some(Self::Value)
    }

    fn objection(self) -> Option<&'static str> {
        match self {
            Self::Start | Self::Value => None,
            Self::Type => Some(
                "stands where an attribute type belongs: a placeholder goes into a value, as in `uid={uid}`; it \
                 cannot be a part of a name with its own `=` and `,` (a path of organizational units is \
                 `{path|ou_path:/}`, the DN above an entry `{parent|dn}`; to keep a record's own `dn`, leave the template out)",
            ),
            Self::Quoted => Some("stands in quotes: leave the quotes out, values are escaped without them"),
            Self::Hex => Some("stands in a value that begins with `#`: write `\\#` for the character"),
        }
    }

    fn escapes(self) -> Option<bool> {
        (self != Self::Type).then_some(true)
    }
}

/// A position in a search filter (RFC 4515 section 3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum FilterPosition {
    /// Anywhere but in an assertion value.
    Attribute,
    /// In an assertion value.
    Value,
}

impl Position for FilterPosition {
    fn after(self, c: char) -> Self {
        match c {
            '=' => Self::Value,
            '(' | ')' => Self::Attribute,
            _ => self,
        }
    }

    fn after_value(self) -> Self {
        self
    }

    fn after_rdns(self) -> Option<Self> {
        None
    }

    fn objection(self) -> Option<&'static str> {
        match self {
            Self::Value => None,
            Self::Attribute => Some(
                "stands where an attribute belongs: a placeholder goes into a value, as in `(uid={uid})`",
            ),
        }
    }

    fn escapes(self) -> Option<bool> {
        (self == Self::Value).then_some(false)
    }
}
