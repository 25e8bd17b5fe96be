//! The setting `stream_maps`, parsed and checked.

use chrono::NaiveDate;
use ldap_directory::time::Zone;
use serde_json::{Map, Value, json};

use super::evaluate::{Scope, evaluate};
use super::expression::{Kind, Node, children};
use super::extras::{Extra, Moment};
use super::parser::parse;
use super::pattern;
use crate::operations::settings_error::SettingsError;

/// Stands for null in the setting: Meltano drops nulls.
const NULL: &str = "__NULL__";

/// The whole of `stream_maps`.
#[derive(Debug, Clone, Default)]
pub(super) struct Definitions {
    /// Definitions by their key in the setting, in its order.
    streams: Vec<(String, Definition)>,
    /// `__else__` is null: streams without a definition are left out.
    leaves_others_out: bool,
}

/// The definition of a stream.
#[derive(Debug, Clone)]
pub(super) enum Definition {
    LeaveOut,
    Map(Box<StreamDefinition>),
}

/// The map of a stream.
#[derive(Debug, Clone)]
pub(super) struct StreamDefinition {
    /// The path of the setting: `stream_maps.users`.
    pub(super) path: String,
    /// `__source__`: the stream that this one is an additional copy of.
    source: Option<String>,
    /// `__alias__`.
    alias: Option<String>,
    /// `__filter__`.
    pub(super) filter: Option<Formula>,
    /// `__key_properties__`.
    pub(super) key_properties: Option<Vec<String>>,
    /// Whether properties without a definition stay: they do unless `__else__` is null.
    pub(super) keeps_others: bool,
    /// Properties in the order of the setting; `None` leaves a property out.
    pub(super) properties: Vec<(String, Option<Formula>)>,
}

/// An expression, and the path of its setting.
#[derive(Debug, Clone)]
pub(super) struct Formula {
    /// `stream_maps.users.mail`.
    pub(super) setting: String,
    pub(super) node: Node,
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value == NULL
}

fn got(value: &Value) -> String {
    format!("it is {}", super::value::type_name(value))
}

const EXPRESSION: &str = "an expression in a text, for example \"mail.lower()\"; or null to leave it out";

impl Formula {
    fn parse(setting: String, value: &Value) -> Result<Formula, SettingsError> {
        let Value::String(text) = value else {
            return Err(SettingsError::value(setting, got(value), EXPRESSION));
        };
        match parse(text) {
            Ok(node) => Ok(Formula { setting, node }),
            Err(error) => {
                let problem = format!("at character {}: {}", error.at, error.reason);
                Err(SettingsError::value(setting, problem, EXPRESSION))
            }
        }
    }

    /// Checks that each name is a property of the stream or one of the built-in names.
    pub(super) fn check_names(&self, stream: &str, known: &Map<String, Value>) -> Result<(), SettingsError> {
        self.check_part(&self.node, &mut Vec::new(), stream, known)
    }

    /// Checks a part of an expression. `bound` are the names bound by comprehensions.
    fn check_part<'n>(
        &self,
        node: &'n Node,
        bound: &mut Vec<&'n str>,
        stream: &str,
        known: &Map<String, Value>,
    ) -> Result<(), SettingsError> {
        if let Kind::Comprehension(element, clauses) = &node.kind {
            let outer = bound.len();
            for clause in clauses {
                self.check_part(&clause.items, bound, stream, known)?;
                bound.extend(clause.targets.iter().map(String::as_str));
                for condition in &clause.conditions {
                    self.check_part(condition, bound, stream, known)?;
                }
            }
            for part in element.nodes() {
                self.check_part(part, bound, stream, known)?;
            }
            bound.truncate(outer);
            return Ok(());
        }
        for part in children(&node.kind) {
            self.check_part(part, bound, stream, known)?;
        }
        let is_record = |of: &Node| matches!(&of.kind, Kind::Name(of) if (of == "record" || of == "_") && !bound.contains(&of.as_str()));
        let name = match &node.kind {
            Kind::Name(name) if bound.contains(&name.as_str()) => return Ok(()),
            Kind::Name(name) => name,
            Kind::Index(of, key) => match &key.kind {
                Kind::Literal(Value::String(key)) if is_record(of) => key,
                _ => return Ok(()),
            },
            Kind::Attribute(of, key) if is_record(of) => key,
            _ => return Ok(()),
        };
        let always = ["record", "_", "config", "__stream_name__", "__original_stream_name__"];
        let is_self =
            name == "self" && self.setting.rsplit('.').next().is_some_and(|own| known.contains_key(own));
        if known.contains_key(name) || always.contains(&name.as_str()) || is_self {
            return Ok(());
        }
        let nearest = nearest(name, known.keys());
        Err(SettingsError::value(
            self.setting.clone(),
            format!("at character {}: stream `{stream}` has no property `{name}`", node.at),
            nearest.map_or_else(
                || "the name of a property; `record.get('name')` for what may be missing".to_owned(),
                |nearest| format!("`{nearest}`, perhaps; `record.get('name')` for what may be missing"),
            ),
        ))
    }
}

/// Returns the known name nearest to an unknown one.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    known
        .map(|k| (strsim::jaro_winkler(&name.to_lowercase(), &k.to_lowercase()), k.as_str()))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

impl Definitions {
    /// Parses the setting.
    pub(super) fn parse(maps: &Map<String, Value>) -> Result<Definitions, SettingsError> {
        let mut definitions = Definitions::default();
        for (key, value) in maps {
            let path = format!("stream_maps.{key}");
            if key == "__else__" {
                if !is_nothing(value) {
                    return Err(SettingsError::value(
                        path,
                        got(value),
                        format!("null, or {NULL:?}: nothing else can be done with other streams"),
                    ));
                }
                definitions.leaves_others_out = true;
                continue;
            }
            if key.starts_with("__") {
                return Err(SettingsError::value(
                    path,
                    "no such option",
                    "the name of a stream, or `__else__`",
                ));
            }
            let definition = match value {
                value if is_nothing(value) => Definition::LeaveOut,
                Value::Object(object) => Definition::Map(Box::new(StreamDefinition::parse(path, object)?)),
                other => {
                    let expected =
                        format!("an object of properties, or null or {NULL:?} to leave the stream out");
                    return Err(SettingsError::value(path, got(other), expected));
                }
            };
            definitions.streams.push((key.clone(), definition));
        }
        Ok(definitions)
    }

    /// Whether the setting defines nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty() && !self.leaves_others_out
    }

    /// Returns a definition by its index.
    pub(super) fn get(&self, n: usize) -> Option<&Definition> {
        self.streams.get(n).map(|(_, definition)| definition)
    }

    /// Returns the keys of the setting with their source stream and their definition.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, &str, &Definition)> {
        self.streams.iter().map(|(key, definition)| {
            let source = match definition {
                Definition::Map(map) => map.source.as_deref(),
                Definition::LeaveOut => None,
            };
            (key.as_str(), source.unwrap_or(key), definition)
        })
    }

    /// Returns the names under which a stream is emitted, each with the index of its definition.
    /// The last definition of the stream itself is used; those with a `__source__` are added to it.
    pub(super) fn of(&self, stream: &str) -> Vec<(String, Option<usize>)> {
        let mut own = (!self.leaves_others_out).then(|| (stream.to_owned(), None));
        let mut copies = Vec::new();
        for (n, (key, definition)) in self.streams.iter().enumerate() {
            let map = if let Definition::Map(map) = definition { Some(map) } else { None };
            let source = map.and_then(|map| map.source.as_ref());
            let from = source.unwrap_or(key);
            if stream != from && !pattern::fits(from, stream) {
                continue;
            }
            if source.is_some() {
                copies.push((if key == from { stream } else { key.as_str() }.to_owned(), Some(n)));
            } else {
                own = map.map(|map| {
                    (
                        map.alias.as_ref().map_or_else(|| stream.to_owned(), |alias| alias_of(alias, stream)),
                        Some(n),
                    )
                });
            }
        }
        own.into_iter().chain(copies).collect()
    }
}

/// Returns the name that an alias stands for: the alias itself, or an expression of `__stream_name__` and texts.
fn alias_of(alias: &str, stream: &str) -> String {
    let Ok(node) = parse(alias) else { return alias.to_owned() };
    let mut parts = vec![&node];
    while let Some(part) = parts.pop() {
        if matches!(&part.kind, Kind::Name(name) if name != "__stream_name__")
            || matches!(&part.kind, Kind::Extra(Extra::Today, _))
        {
            return alias.to_owned();
        }
        parts.extend(children(&part.kind));
    }
    let (record, name) = (json!({}), Value::from(stream));
    let steps = std::cell::Cell::new(0);
    let scope = Scope {
        record: &record,
        config: &Value::Null,
        stream: &name,
        original: &name,
        own: None,
        locals: None,
        steps: &steps,
        // An alias is the same on every day.
        moment: Moment { today: NaiveDate::default(), zone: Zone::Utc },
    };
    match evaluate(&node, &scope).as_deref() {
        Ok(Value::String(name)) => name.clone(),
        _ => alias.to_owned(),
    }
}

impl StreamDefinition {
    fn parse(path: String, object: &Map<String, Value>) -> Result<StreamDefinition, SettingsError> {
        let mut definition = StreamDefinition {
            path,
            source: None,
            alias: None,
            filter: None,
            key_properties: None,
            keeps_others: true,
            properties: Vec::new(),
        };
        for (key, value) in object {
            let setting = format!("{}.{key}", definition.path);
            let bad = |expected: &str| SettingsError::value(setting.clone(), got(value), expected);
            let name = || value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
            match key.as_str() {
                "__source__" => {
                    definition.source = Some(name().ok_or_else(|| bad("the name of a stream"))?);
                }
                "__alias__" => {
                    definition.alias = Some(name().ok_or_else(|| bad("the name the stream is to have"))?);
                }
                "__filter__" if value.is_null() => {}
                "__filter__" => definition.filter = Some(Formula::parse(setting, value)?),
                "__key_properties__" if is_nothing(value) => definition.key_properties = Some(Vec::new()),
                "__key_properties__" => {
                    let names: Option<Vec<String>> = value
                        .as_array()
                        .and_then(|names| names.iter().map(|n| n.as_str().map(str::to_owned)).collect());
                    definition.key_properties =
                        Some(names.ok_or_else(|| bad("a list of properties, or null for none"))?);
                }
                "__else__" if is_nothing(value) => definition.keeps_others = false,
                "__else__" => {
                    return Err(bad("null or \"__NULL__\": properties that are not named are left out"));
                }
                option if option.starts_with("__") => {
                    let expected = "a property, or one of `__alias__`, `__source__`, `__filter__`, `__key_properties__`, `__else__`";
                    return Err(SettingsError::value(setting, "no such option", expected));
                }
                property => {
                    let formula =
                        if is_nothing(value) { None } else { Some(Formula::parse(setting, value)?) };
                    definition.properties.push((property.to_owned(), formula));
                }
            }
        }
        Ok(definition)
    }
}
