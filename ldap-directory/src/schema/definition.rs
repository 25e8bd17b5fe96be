//! Definitions of attribute types and object classes (RFC 4512 section 4.1), parsed as leniently as servers write them.
//!
//! Accepted beyond the RFC, because servers publish it: names in the place of OIDs (`foo-oid`, 389 DS), quoted SYNTAX and SUP
//! (Active Directory), no NAME, lists of X- values, unknown keywords, and an apostrophe inside DESC.

/// Why a definition is not valid. `definition` is its beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It does not start with `(`.
    #[error("schema definition does not start with `(`: {definition}")]
    NotParenthesised {
        /// The beginning of the definition.
        definition: String,
    },
    /// No OID after `(`.
    #[error("schema definition has no OID: {definition}")]
    MissingOid {
        /// The beginning of the definition.
        definition: String,
    },
    /// A `(` or a quote is not closed.
    #[error("schema definition does not end: {definition}")]
    Unclosed {
        /// The beginning of the definition.
        definition: String,
    },
    /// A keyword that needs a value has none.
    #[error("schema definition has no value for {keyword}: {definition}")]
    MissingValue {
        /// The keyword.
        keyword: String,
        /// The beginning of the definition.
        definition: String,
    },
}

/// The usage of an attribute (USAGE, RFC 4512 section 4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// User data.
    #[default]
    UserApplications,
    /// Operational, of the directory.
    DirectoryOperation,
    /// Operational, shared by servers.
    DistributedOperation,
    /// Operational, of one server.
    DsaOperation,
}

impl Usage {
    /// Returns the keyword of the definition (RFC 4512 section 4.1.2).
    pub fn keyword(self) -> &'static str {
        match self {
            Self::UserApplications => "userApplications",
            Self::DirectoryOperation => "directoryOperation",
            Self::DistributedOperation => "distributedOperation",
            Self::DsaOperation => "dSAOperation",
        }
    }
}

/// An attribute type (RFC 4512 section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // The RFC's own flags.
pub struct AttributeType {
    /// The numeric OID, or what the server publishes in its place.
    pub oid: String,
    /// Its short names, the canonical one first.
    pub names: Vec<String>,
    /// DESC.
    pub description: Option<String>,
    /// OBSOLETE.
    pub obsolete: bool,
    /// SUP: the supertype.
    pub superior: Option<String>,
    /// EQUALITY, a rule's name or OID.
    pub equality: Option<String>,
    /// ORDERING, a rule's name or OID.
    pub ordering: Option<String>,
    /// SUBSTR, a rule's name or OID.
    pub substring: Option<String>,
    /// SYNTAX: the OID, without a `{length}`.
    pub syntax: Option<String>,
    /// SINGLE-VALUE.
    pub single_value: bool,
    /// COLLECTIVE (RFC 3671).
    pub collective: bool,
    /// NO-USER-MODIFICATION: maintained by the server.
    pub no_user_modification: bool,
    /// USAGE.
    pub usage: Usage,
}

/// The kind of an object class (RFC 4512 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassKind {
    /// Only a superclass of others.
    Abstract,
    /// What an entry is; an entry has one chain of them.
    #[default]
    Structural,
    /// Additional attributes of an entry.
    Auxiliary,
}

/// An object class (RFC 4512 section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectClass {
    /// The numeric OID, or what the server publishes in its place.
    pub oid: String,
    /// Its short names, the canonical one first.
    pub names: Vec<String>,
    /// DESC.
    pub description: Option<String>,
    /// OBSOLETE.
    pub obsolete: bool,
    /// SUP: the superclasses.
    pub superiors: Vec<String>,
    /// ABSTRACT, STRUCTURAL or AUXILIARY.
    pub kind: ClassKind,
    /// MUST: the mandatory attributes, in the published spelling.
    pub must: Vec<String>,
    /// MAY: the optional attributes, in the published spelling.
    pub may: Vec<String>,
}

/// A DIT content rule: what entries of a structural class may contain beyond their classes (RFC 4512 section 4.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentRule {
    /// The OID of the structural class.
    pub class: String,
    /// AUX: auxiliary classes that entries may have.
    pub auxiliary: Vec<String>,
    /// MUST: attributes that entries must have.
    pub must: Vec<String>,
    /// MAY: attributes that entries may have.
    pub may: Vec<String>,
    /// NOT: attributes of their classes that entries must not have.
    pub not: Vec<String>,
}

impl AttributeType {
    /// Parses an attribute type description (RFC 4512 section 4.1.2).
    ///
    /// # Errors
    /// Fails if it has no OID, is not closed, or lacks a value after a keyword.
    ///
    /// ```
    /// use ldap_directory::schema::AttributeType;
    ///
    /// let cn = AttributeType::parse("( 2.5.4.3 NAME ( 'cn' 'commonName' ) SUP name )")?;
    /// assert_eq!((cn.name(), cn.superior.as_deref()), ("cn", Some("name")));
    /// # Ok::<(), ldap_directory::schema::DefinitionError>(())
    /// ```
    pub fn parse(definition: &str) -> Result<Self, DefinitionError> {
        let mut reader = Reader::new(definition)?;
        let mut out = Self { oid: reader.oid()?, ..Self::default() };
        while let Some(keyword) = reader.keyword()? {
            match keyword.to_ascii_uppercase().as_str() {
                "NAME" => out.names = reader.values(&keyword)?,
                "DESC" => out.description = reader.first(&keyword)?,
                "OBSOLETE" => out.obsolete = true,
                "SUP" => out.superior = reader.first(&keyword)?,
                "EQUALITY" => out.equality = reader.first(&keyword)?,
                "ORDERING" => out.ordering = reader.first(&keyword)?,
                "SUBSTR" => out.substring = reader.first(&keyword)?,
                "SYNTAX" => out.syntax = reader.first(&keyword)?.and_then(|s| without_length(&s)),
                "SINGLE-VALUE" => out.single_value = true,
                "COLLECTIVE" => out.collective = true,
                "NO-USER-MODIFICATION" => out.no_user_modification = true,
                "USAGE" => out.usage = usage(reader.first(&keyword)?.as_deref()),
                _ => reader.skip_unknown()?,
            }
        }
        Ok(out)
    }

    /// Returns the canonical name, or the OID if there is none.
    pub fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.oid)
    }
}

impl ObjectClass {
    /// Parses an object class description (RFC 4512 section 4.1.1).
    ///
    /// # Errors
    /// Fails if it has no OID, is not closed, or lacks a value after a keyword.
    pub fn parse(definition: &str) -> Result<Self, DefinitionError> {
        let mut reader = Reader::new(definition)?;
        let mut out = Self { oid: reader.oid()?, ..Self::default() };
        while let Some(keyword) = reader.keyword()? {
            match keyword.to_ascii_uppercase().as_str() {
                "NAME" => out.names = reader.values(&keyword)?,
                "DESC" => out.description = reader.first(&keyword)?,
                "OBSOLETE" => out.obsolete = true,
                "SUP" => out.superiors = reader.values(&keyword)?,
                "ABSTRACT" => out.kind = ClassKind::Abstract,
                "STRUCTURAL" => out.kind = ClassKind::Structural,
                "AUXILIARY" => out.kind = ClassKind::Auxiliary,
                "MUST" => out.must = reader.values(&keyword)?,
                "MAY" => out.may = reader.values(&keyword)?,
                _ => reader.skip_unknown()?,
            }
        }
        Ok(out)
    }

    /// Returns the canonical name, or the OID if there is none.
    pub fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.oid)
    }
}

impl ContentRule {
    /// Parses a DIT content rule description (RFC 4512 section 4.1.6).
    ///
    /// # Errors
    /// Fails if it has no OID, is not closed, or lacks a value after a keyword.
    pub fn parse(definition: &str) -> Result<Self, DefinitionError> {
        let mut reader = Reader::new(definition)?;
        let mut out = Self { class: reader.oid()?, ..Self::default() };
        while let Some(keyword) = reader.keyword()? {
            match keyword.to_ascii_uppercase().as_str() {
                "AUX" => out.auxiliary = reader.values(&keyword)?,
                "MUST" => out.must = reader.values(&keyword)?,
                "MAY" => out.may = reader.values(&keyword)?,
                "NOT" => out.not = reader.values(&keyword)?,
                "OBSOLETE" => {}
                _ => reader.skip_unknown()?,
            }
        }
        Ok(out)
    }
}

fn usage(word: Option<&str>) -> Usage {
    match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "directoryoperation" => Usage::DirectoryOperation,
        "distributedoperation" => Usage::DistributedOperation,
        "dsaoperation" => Usage::DsaOperation,
        _ => Usage::UserApplications,
    }
}

/// Returns the OID of a `noidlen` (RFC 4512 section 4.1.2): `1.2.3{64}`.
fn without_length(syntax: &str) -> Option<String> {
    let oid = syntax.split('{').next().unwrap_or(syntax).trim();
    (!oid.is_empty()).then(|| oid.to_owned())
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Dollar,
    Word(String),
    Quoted(String),
}

struct Reader<'a> {
    definition: &'a str,
    rest: &'a str,
    peeked: Option<Token>,
}

impl<'a> Reader<'a> {
    fn new(definition: &'a str) -> Result<Self, DefinitionError> {
        let mut reader = Self { definition, rest: definition, peeked: None };
        match reader.next()? {
            Some(Token::Open) => Ok(reader),
            _ => Err(DefinitionError::NotParenthesised { definition: reader.beginning() }),
        }
    }

    fn beginning(&self) -> String {
        self.definition.chars().take(80).collect()
    }

    fn unclosed(&self) -> DefinitionError {
        DefinitionError::Unclosed { definition: self.beginning() }
    }

    fn next(&mut self) -> Result<Option<Token>, DefinitionError> {
        if let Some(token) = self.peeked.take() {
            return Ok(Some(token));
        }
        let text = self.rest.trim_start();
        let mut chars = text.chars();
        let token = match chars.next() {
            None => return Ok(None),
            Some('(') => Token::Open,
            Some(')') => Token::Close,
            Some('$') => Token::Dollar,
            Some('\'') => {
                let inner = chars.as_str();
                let end = closing_quote(inner).ok_or_else(|| self.unclosed())?;
                let (inner, after) = inner.split_at_checked(end).unwrap_or((inner, ""));
                self.rest = after.strip_prefix('\'').unwrap_or(after);
                return Ok(Some(Token::Quoted(unescape(inner))));
            }
            Some(_) => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '$' | '\'');
                let end = text.find(ends).unwrap_or(text.len());
                // A length ends a syntax (noidlen), also where no space follows.
                let end = text.find('}').map_or(end, |at| end.min(at + 1));
                let (word, after) = text.split_at_checked(end).unwrap_or((text, ""));
                self.rest = after;
                return Ok(Some(Token::Word(word.to_owned())));
            }
        };
        self.rest = chars.as_str();
        Ok(Some(token))
    }

    fn oid(&mut self) -> Result<String, DefinitionError> {
        match self.next()? {
            Some(Token::Word(oid) | Token::Quoted(oid)) if !oid.is_empty() => Ok(oid),
            _ => Err(DefinitionError::MissingOid { definition: self.beginning() }),
        }
    }

    /// Returns the next keyword, skipping stray values; `None` after the closing parenthesis.
    fn keyword(&mut self) -> Result<Option<String>, DefinitionError> {
        loop {
            match self.next()? {
                None => return Err(self.unclosed()),
                Some(Token::Close) => return Ok(None),
                Some(Token::Word(word)) => return Ok(Some(word)),
                Some(Token::Open) => self.skip_list()?,
                Some(Token::Quoted(_) | Token::Dollar) => {}
            }
        }
    }

    /// Returns a value, or the values of a list in parentheses.
    fn values(&mut self, keyword: &str) -> Result<Vec<String>, DefinitionError> {
        match self.next()? {
            Some(Token::Word(value) | Token::Quoted(value)) => {
                let mut values = vec![value];
                // `a $ b` without parentheses.
                while self.take(&Token::Dollar)? {
                    if let Some(Token::Word(value) | Token::Quoted(value)) = self.next()? {
                        values.push(value);
                    }
                }
                Ok(values)
            }
            Some(Token::Open) => {
                let mut values = Vec::new();
                loop {
                    match self.next()? {
                        None => return Err(self.unclosed()),
                        Some(Token::Close) => return Ok(values),
                        Some(Token::Word(value) | Token::Quoted(value)) => values.push(value),
                        Some(Token::Open) => self.skip_list()?,
                        Some(Token::Dollar) => {}
                    }
                }
            }
            None => Err(self.unclosed()),
            Some(Token::Close | Token::Dollar) => Err(DefinitionError::MissingValue {
                keyword: keyword.to_owned(),
                definition: self.beginning(),
            }),
        }
    }

    fn first(&mut self, keyword: &str) -> Result<Option<String>, DefinitionError> {
        Ok(self.values(keyword)?.into_iter().next())
    }

    fn take(&mut self, wanted: &Token) -> Result<bool, DefinitionError> {
        match self.next()? {
            Some(token) if token == *wanted => Ok(true),
            other => {
                self.peeked = other;
                Ok(false)
            }
        }
    }

    /// Skips the value of an unknown keyword, if it has one.
    fn skip_unknown(&mut self) -> Result<(), DefinitionError> {
        match self.next()? {
            Some(Token::Open) => self.skip_list(),
            Some(Token::Quoted(_)) => Ok(()),
            other => {
                self.peeked = other;
                Ok(())
            }
        }
    }

    /// Skips to the end of the parenthesis that was opened last.
    fn skip_list(&mut self) -> Result<(), DefinitionError> {
        let mut depth = 1usize;
        while depth > 0 {
            match self.next()? {
                None => return Err(self.unclosed()),
                Some(Token::Open) => depth += 1,
                Some(Token::Close) => depth -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Keywords that may follow a quoted string, perhaps without a space (RFC 4512 sections 4.1.1 to 4.1.8).
const KEYWORDS: [&str; 24] = [
    "NAME",
    "DESC",
    "OBSOLETE",
    "SUP",
    "EQUALITY",
    "ORDERING",
    "SUBSTR",
    "SYNTAX",
    "SINGLE-VALUE",
    "COLLECTIVE",
    "NO-USER-MODIFICATION",
    "USAGE",
    "ABSTRACT",
    "STRUCTURAL",
    "AUXILIARY",
    "MUST",
    "MAY",
    "AUX",
    "NOT",
    "FORM",
    "OC",
    "APPLIES",
    "RULE",
    "X-",
];

/// Returns the end of a quoted string. An apostrophe inside should be `\27` (RFC 4512 section 4.1), but on some servers is not.
/// The string ends at the first apostrophe after which the definition continues or ends; if there is none, at the first one
/// before a space, a parenthesis, `$` or the end.
fn closing_quote(inner: &str) -> Option<usize> {
    let goes_on = |after: &str| {
        let next = after.trim_start();
        let word = next
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '\''))
            .next()
            .unwrap_or_default();
        let is_keyword = KEYWORDS.contains(&word) || word.starts_with("X-");
        // An unknown keyword.
        let is_like_one = word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        let has_space = next.len() < after.len();
        is_keyword
            || has_space && (is_like_one || next.starts_with('\''))
            || next.chars().next().is_none_or(|c| matches!(c, '(' | ')' | '$'))
    };
    let ends =
        |after: &str| after.chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '$'));
    let quotes = || inner.match_indices('\'').map(|(at, _)| at);
    quotes()
        .find(|at| inner.get(at + 1..).is_none_or(goes_on))
        .or_else(|| quotes().find(|at| inner.get(at + 1..).is_none_or(ends)))
}

/// Decodes `\27` (apostrophe) and `\5C` (backslash, RFC 4512 section 4.1); every other backslash is literal.
fn unescape(quoted: &str) -> String {
    quoted.replace("\\27", "'").replace("\\5C", "\\").replace("\\5c", "\\")
}

#[cfg(test)]
mod tests;
