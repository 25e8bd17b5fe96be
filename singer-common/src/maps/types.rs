//! Types of expressions, derived from the types of the stream's properties, for the emitted SCHEMA.
//! A type is a JSON schema; a schema without `type` allows any value.

use serde_json::{Map, Value, json};

use super::expression::{Clause, Element, Function, Kind, Method, Node, Operator};

/// The names that an expression may refer to, with their types.
#[derive(Debug, Clone, Copy)]
pub(super) struct Types<'a> {
    /// The stream's schema.
    pub(super) record: &'a Value,
    /// `config`.
    pub(super) config: &'a Value,
    /// The source property of a computed property, if it exists.
    pub(super) own: Option<&'a str>,
    /// Names bound by comprehensions, the innermost first.
    pub(super) locals: Option<&'a Local<'a>>,
}

/// A name bound by a comprehension, with its type.
#[derive(Debug)]
pub(super) struct Local<'a> {
    name: &'a str,
    schema: Value,
    outer: Option<&'a Local<'a>>,
}

impl Types<'_> {
    fn local(&self, name: &str) -> Option<&Value> {
        let mut local = self.locals;
        while let Some(Local { name: known, schema, outer }) = local {
            if *known == name {
                return Some(schema);
            }
            local = *outer;
        }
        None
    }
}

/// Returns the schema of a comprehension's result.
fn of_comprehension(element: &Element, clauses: &[Clause], types: &Types<'_>) -> Value {
    let Some((clause, inner)) = clauses.split_first() else {
        return match element {
            Element::One(node) => json!({"type": ["array"], "items": schema_of(node, types)}),
            Element::Pair(..) => of_kind("object"),
        };
    };
    let item = match (clause.targets.as_slice(), clause.unpacks) {
        ([_], false) => items_of(&schema_of(&clause.items, types)),
        _ => anything(),
    };
    bind(&clause.targets, &item, types, &mut |types| of_comprehension(element, inner, types))
}

fn bind(
    names: &[String],
    schema: &Value,
    types: &Types<'_>,
    then: &mut dyn FnMut(&Types<'_>) -> Value,
) -> Value {
    let Some((name, names)) = names.split_first() else { return then(types) };
    let local = Local { name, schema: schema.clone(), outer: types.locals };
    bind(names, schema, &Types { locals: Some(&local), ..*types }, then)
}

/// Returns the schema of the items that Python iterates over: a list's items, a text's characters, an object's keys.
fn items_of(of: &Value) -> Value {
    match kinds(of).map(|kinds| kinds.into_iter().filter(|k| *k != "null").collect::<Vec<_>>()).as_deref() {
        Some(["string" | "object"]) => of_kind("string"),
        Some(["array"]) => of.get("items").cloned().unwrap_or_else(anything),
        _ => anything(),
    }
}

/// Returns the schema that allows any value.
fn anything() -> Value {
    Value::Object(Map::new())
}

fn of_kind(kind: &str) -> Value {
    json!({"type": [kind]})
}

/// Returns the types that a schema names; `None` if it names none.
pub(super) fn kinds(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(kind) => Some(vec![kind]),
        Value::Array(kinds) => kinds.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Returns the schema extended by null.
pub(super) fn nullable(mut schema: Value) -> Value {
    let Some(kinds) = kinds(&schema) else { return schema };
    let mut kinds: Vec<Value> = kinds.into_iter().map(Value::from).collect();
    if !kinds.iter().any(|kind| kind == "null") {
        kinds.push("null".into());
    }
    if let Some(object) = schema.as_object_mut() {
        object.insert("type".into(), kinds.into());
    }
    schema
}

/// Returns the schema that both schemas fit.
fn either(a: Value, b: Value) -> Value {
    if a == b {
        return a;
    }
    let (Some(of_a), Some(of_b)) = (kinds(&a), kinds(&b)) else { return anything() };
    if of_a == ["null"] {
        return nullable(b);
    }
    if of_b == ["null"] {
        return nullable(a);
    }
    let mut all = of_a;
    all.extend(of_b.into_iter().filter(|kind| !all.contains(kind)).collect::<Vec<_>>());
    let mut schema = json!({"type": all});
    // The schema of items stays if both schemas have the same.
    if let (Some(items), Some(object)) =
        (a.get("items").filter(|i| b.get("items") == Some(i)), schema.as_object_mut())
    {
        object.insert("items".into(), items.clone());
    }
    schema
}

/// Returns the schema of a value from the settings.
fn of_value(value: &Value) -> Value {
    match value {
        Value::Null => of_kind("null"),
        Value::Bool(_) => of_kind("boolean"),
        Value::Number(n) => {
            of_kind(if n.is_f64() || n.to_string().contains(['.', 'e', 'E']) { "number" } else { "integer" })
        }
        Value::String(_) => of_kind("string"),
        Value::Array(items) => list(items.iter().map(of_value)),
        Value::Object(object) => {
            let properties: Map<String, Value> =
                object.iter().map(|(k, v)| (k.clone(), of_value(v))).collect();
            json!({"type": ["object"], "properties": properties})
        }
    }
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    match items.reduce(either) {
        Some(items) => json!({"type": ["array"], "items": items}),
        None => of_kind("array"),
    }
}

/// Returns the schema of an existing key's value.
fn at_key(of: &Value, key: &str) -> Value {
    of.pointer("/properties").and_then(|p| p.get(key)).cloned().unwrap_or_else(anything)
}

/// Returns the schema of one item of a list or a text.
fn at_place(of: &Value) -> Value {
    match kinds(of).map(|kinds| kinds.into_iter().filter(|k| *k != "null").collect::<Vec<_>>()).as_deref() {
        Some(["string"]) => of_kind("string"),
        Some(["array"]) => of.get("items").cloned().unwrap_or_else(anything),
        _ => anything(),
    }
}

fn literal_key(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Literal(Value::String(key)) => Some(key),
        _ => None,
    }
}

/// Returns the schema of an expression's values.
pub(super) fn schema_of(node: &Node, types: &Types<'_>) -> Value {
    match &node.kind {
        Kind::Literal(value) => of_value(value),
        Kind::Name(name) if types.local(name).is_some() => types.local(name).cloned().unwrap_or_default(),
        Kind::Name(name) => match name.as_str() {
            "self" if types.own.is_some() => at_key(types.record, types.own.unwrap_or_default()),
            "_" | "record" => types.record.clone(),
            "config" => of_value(types.config),
            "__stream_name__" | "__original_stream_name__" => of_kind("string"),
            _ => at_key(types.record, name),
        },
        Kind::List(items) | Kind::Tuple(items) => list(items.iter().map(|item| schema_of(item, types))),
        Kind::Object(pairs) => {
            let mut properties = Map::new();
            for (key, value) in pairs {
                let Some(key) = literal_key(key) else { return of_kind("object") };
                properties.insert(key.to_owned(), schema_of(value, types));
            }
            json!({"type": ["object"], "properties": properties})
        }
        Kind::Comprehension(element, clauses) => of_comprehension(element, clauses, types),
        Kind::Format(_) => of_kind("string"),
        Kind::Index(of, index) => match literal_key(index) {
            Some(key) => at_key(&schema_of(of, types), key),
            None => at_place(&schema_of(of, types)),
        },
        Kind::Attribute(of, key) => at_key(&schema_of(of, types), key),
        Kind::Slice(of, ..) => {
            let of = schema_of(of, types);
            match kinds(&of)
                .map(|kinds| kinds.into_iter().filter(|k| *k != "null").collect::<Vec<_>>())
                .as_deref()
            {
                Some(["string"]) => of_kind("string"),
                Some(["array"]) => {
                    json!({"type": ["array"], "items": of.get("items").cloned().unwrap_or_else(anything)})
                }
                _ => anything(),
            }
        }
        Kind::Call(Function::JsonLoads, _) => anything(),
        Kind::Call(Function::List, arguments) => {
            let items = arguments.first().map_or_else(anything, |of| items_of(&schema_of(of, types)));
            json!({"type": ["array"], "items": items})
        }
        Kind::Extra(extra, _) => of_kind(if extra.is_number() { "integer" } else { "string" }),
        Kind::Call(function, _) => of_kind(match function {
            Function::Bool => "boolean",
            Function::Float => "number",
            Function::Int | Function::Len => "integer",
            _ => "string",
        }),
        Kind::Method(of, method, arguments) => match method {
            Method::StartsWith | Method::EndsWith | Method::IsDigit | Method::IsSpace => of_kind("boolean"),
            Method::Count | Method::Find | Method::RFind | Method::Index => of_kind("integer"),
            Method::Values | Method::Items => of_kind("array"),
            Method::Split | Method::RSplit | Method::SplitLines | Method::Partition | Method::Keys => {
                json!({"type": ["array"], "items": {"type": ["string"]}})
            }
            Method::Get => {
                let found = match arguments.first().and_then(literal_key) {
                    Some(key) => at_key(&schema_of(of, types), key),
                    None => anything(),
                };
                either(found, arguments.get(1).map_or_else(|| of_kind("null"), |d| schema_of(d, types)))
            }
            _ => of_kind("string"),
        },
        Kind::Not(_) | Kind::Compare(..) => of_kind("boolean"),
        Kind::Negative(of) | Kind::Positive(of) => computed(&[schema_of(of, types)], Operator::Subtract),
        Kind::Binary(a, operator, b) => computed(&[schema_of(a, types), schema_of(b, types)], *operator),
        Kind::And(parts) | Kind::Or(parts) => {
            parts.iter().map(|part| schema_of(part, types)).reduce(either).unwrap_or_else(anything)
        }
        Kind::If { then, otherwise, .. } => either(schema_of(then, types), schema_of(otherwise, types)),
    }
}

/// Returns the schema of an arithmetic result: a number, or a text.
fn computed(of: &[Value], operator: Operator) -> Value {
    let Some(kinds) = of.iter().map(kinds).collect::<Option<Vec<_>>>() else { return anything() };
    let all = |fits: &[&str]| kinds.iter().all(|kinds| kinds.iter().any(|kind| fits.contains(kind)));
    let any = |fits: &str| kinds.iter().any(|kinds| kinds.contains(&fits));
    let mut results = Vec::new();
    if all(&["integer", "boolean", "number"]) {
        let is_fraction = operator == Operator::Divide || any("number");
        results.push(of_kind(if is_fraction { "number" } else { "integer" }));
    }
    match operator {
        Operator::Add if all(&["string"]) => results.push(of_kind("string")),
        Operator::Multiply if any("string") => results.push(of_kind("string")),
        _ => {}
    }
    if operator == Operator::Multiply && any("array") {
        results.push(of_kind("array"));
    }
    if operator == Operator::Add && all(&["array"]) {
        results.push(of_kind("array"));
    }
    results.into_iter().reduce(either).unwrap_or_else(anything)
}
