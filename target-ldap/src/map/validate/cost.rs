//! The cost of applying a SCHEMA to one value. A kilobyte of `$ref`s that double from one to the next would apply more
//! subschemas than there are seconds in a year.
//!
//! The cost is how often subschemas are applied to one value, not their number: a SCHEMA of ten thousand properties applies one
//! to each.

use std::collections::{HashMap, HashSet};

use percent_encoding::percent_decode_str;
use petgraph::Direction::Outgoing;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde_json::Value;

/// The most subschemas that may be applied to one value of a record.
const MOST_TIMES: u64 = 10_000;
/// The deepest nesting of subschemas and `$ref`s.
const MOST_DEEP: usize = 2_000;

/// The part of a value that a subschema applies to, relative to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum ValuePart<'s> {
    /// The same value.
    Same,
    /// A member of an object.
    Member(&'s str),
    /// Any member.
    Members,
    /// An item of a list.
    Item(usize),
    /// Any item.
    Items,
    /// The names of members.
    Names,
}

/// The subschemas, with an edge for each application.
type Graph<'s> = DiGraph<(), ValuePart<'s>>;

/// The cost of a subschema.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// The most applications to one value, at any depth, if this subschema is applied once.
    times: u64,
    /// The depth of nesting.
    depth: usize,
}

/// Checks that a SCHEMA can be applied to records in reasonable time.
///
/// # Errors
/// It cannot; the text says why.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let graph = graph(schema);
    let mut costs: HashMap<NodeIndex, Cost> = HashMap::new();
    // A subschema comes after those that it applies. Those that apply each other come together.
    for ring in kosaraju_scc(&graph) {
        let ring: HashSet<NodeIndex> = ring.into_iter().collect();
        let below = ring.iter().flat_map(|node| graph.neighbors(*node)).filter_map(|to| costs.get(&to));
        let depth = ring.len() + below.map(|cost| cost.depth).max().unwrap_or_default();
        if depth > MOST_DEEP {
            return Err(too_deep());
        }
        for node in &ring {
            let times = times(&graph, *node, &costs, &ring)?;
            costs.insert(*node, Cost { times, depth });
        }
    }
    Ok(())
}

fn too_much() -> String {
    format!(
        "the SCHEMA would apply more than {MOST_TIMES} subschemas to one value of a record: its `$ref`s, allOf, anyOf or oneOf multiply (validate_records: false does not look at them)"
    )
}

fn too_deep() -> String {
    format!(
        "the subschemas or `$ref`s of the SCHEMA are more than {MOST_DEEP} deep (validate_records: false does not look at them)"
    )
}

/// Returns the most applications to one value, if this subschema is applied once. `ring`: it and the subschemas that it applies
/// and that apply it.
fn times(
    graph: &Graph<'_>,
    node: NodeIndex,
    costs: &HashMap<NodeIndex, Cost>,
    ring: &HashSet<NodeIndex>,
) -> Result<u64, String> {
    let mut here = 0_u64;
    // For each part of the value: applications by known subschemas, and by the ring.
    let mut below: HashMap<ValuePart<'_>, (u64, u64)> = HashMap::new();
    let mut todo = vec![node];
    while let Some(next) = todo.pop() {
        here += 1;
        if here > MOST_TIMES {
            return Err(too_much());
        }
        for edge in graph.edges_directed(next, Outgoing) {
            let (step, to) = (*edge.weight(), edge.target());
            if step == ValuePart::Same {
                if to == node {
                    return Err("a subschema of the SCHEMA refers to itself without an end".to_owned());
                }
                todo.push(to);
                continue;
            }
            let (known, of_ring) = below.entry(step).or_default();
            if ring.contains(&to) {
                *of_ring += 1;
            } else {
                *known = known.saturating_add(costs.get(&to).map_or(1, |cost| cost.times));
            }
        }
    }
    let mut most = here;
    for (step, (known, of_ring)) in &below {
        let any = match step {
            ValuePart::Member(_) => below.get(&ValuePart::Members),
            ValuePart::Item(_) => below.get(&ValuePart::Items),
            _ => None,
        };
        let (more, more_of_ring) = any.copied().unwrap_or_default();
        // Twice at each level: the depth of the record is the exponent.
        if of_ring + more_of_ring > 1 {
            return Err(too_much());
        }
        most = most.max(known.saturating_add(more).saturating_add(of_ring + more_of_ring));
    }
    if most > MOST_TIMES { Err(too_much()) } else { Ok(most) }
}

fn graph(root: &Value) -> Graph<'_> {
    let names = names(root);
    let mut graph = Graph::new();
    let mut numbers = HashMap::from([(std::ptr::from_ref(root), graph.add_node(()))]);
    let mut todo = vec![root];
    while let Some(schema) = todo.pop() {
        let Some(from) = numbers.get(&std::ptr::from_ref(schema)).copied() else { continue };
        for (step, to) in applied(schema, root, &names) {
            let number = *numbers.entry(std::ptr::from_ref(to)).or_insert_with(|| {
                todo.push(to);
                graph.add_node(())
            });
            graph.add_edge(from, number, step);
        }
    }
    graph
}

/// Returns the subschemas with a name (`$anchor`, `$id`), by the text that a `$ref` uses.
fn names(root: &Value) -> HashMap<String, &Value> {
    let mut names = HashMap::new();
    let mut todo = vec![root];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(object) => {
                for (key, name) in object {
                    let Value::String(name) = name else { continue };
                    match key.as_str() {
                        "$anchor" | "$dynamicAnchor" => names.insert(format!("#{name}"), value),
                        "$id" | "id" => names.insert(name.clone(), value),
                        _ => None,
                    };
                }
                todo.extend(object.values());
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
    names
}

/// Returns the subschemas that a subschema applies, and to which part.
fn applied<'s>(
    schema: &'s Value,
    root: &'s Value,
    names: &HashMap<String, &'s Value>,
) -> Vec<(ValuePart<'s>, &'s Value)> {
    let mut all = Vec::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        let step = match key.as_str() {
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                let to = value.as_str().and_then(|name| referred(name, root, names));
                all.extend(to.map(|to| (ValuePart::Same, to)));
                continue;
            }
            "properties" => {
                all.extend(
                    value.as_object().into_iter().flatten().map(|(name, to)| (ValuePart::Member(name), to)),
                );
                continue;
            }
            "items" | "prefixItems" if value.is_array() => {
                let items = value.as_array().into_iter().flatten().enumerate();
                all.extend(items.map(|(n, to)| (ValuePart::Item(n), to)));
                continue;
            }
            "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" | "dependencies"
            | "dependentSchemas" | "extends" => ValuePart::Same,
            "patternProperties" | "additionalProperties" | "unevaluatedProperties" => ValuePart::Members,
            "items" | "additionalItems" | "unevaluatedItems" | "contains" => ValuePart::Items,
            "propertyNames" => ValuePart::Names,
            _ => continue,
        };
        match value {
            Value::Array(parts) => all.extend(parts.iter().map(|to| (step, to))),
            Value::Object(parts)
                if ["patternProperties", "dependencies", "dependentSchemas"].contains(&key.as_str()) =>
            {
                all.extend(parts.values().map(|to| (step, to)));
            }
            one => all.push((step, one)),
        }
    }
    all.retain(|(_, to)| to.is_object());
    all
}

/// Resolves a `$ref`. External references are left to the compiler, which refuses them.
fn referred<'s>(name: &str, root: &'s Value, names: &HashMap<String, &'s Value>) -> Option<&'s Value> {
    if let Some(named) = names.get(name) {
        return Some(named);
    }
    let (document, fragment) = name.split_once('#').unwrap_or((name, ""));
    let document = if document.is_empty() { root } else { names.get(document)? };
    let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
    if fragment.is_empty() { Some(document) } else { document.pointer(&fragment) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Definitions that each apply the next one twice.
    fn doubling(count: usize, twice: impl Fn(Value) -> Value) -> Value {
        let mut definitions = serde_json::Map::new();
        for n in 0..count {
            definitions.insert(format!("d{n}"), twice(json!({"$ref": format!("#/definitions/d{}", n + 1)})));
        }
        definitions.insert(format!("d{count}"), json!({"type": "string"}));
        json!({"definitions": definitions, "properties": {"id": {"$ref": "#/definitions/d0"}}})
    }

    #[test]
    fn what_multiplies_is_refused() {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            assert!(check(&doubling(30, |next| json!({keyword: [next, next]}))).is_err(), "{keyword}");
            check(&doubling(10, |next| json!({keyword: [next, next]}))).unwrap();
        }
        assert!(check(&doubling(30, |next| json!({"if": next, "else": next}))).is_err());
        // One level of a record for each.
        let in_members = |next: Value| json!({"properties": {"a": next}, "additionalProperties": {}, "patternProperties": {"^a": next}});
        assert!(check(&doubling(30, in_members)).is_err());
        assert!(
            check(&doubling(30, |next| json!({"allOf": [{"items": next}, {"contains": next}]}))).is_err()
        );
        // As deep as the record.
        for ring in [
            json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}),
            json!({"properties": {"a": {"$ref": "#"}}, "patternProperties": {"a": {"$ref": "#"}}}),
            json!({"items": [{"$ref": "#"}], "contains": {"$ref": "#"}}),
            json!({"properties": {"a": {"$ref": "#/definitions/x"}}, "definitions": {"x": {"anyOf": [
                {"properties": {"b": {"$ref": "#"}}}, {"properties": {"b": {"$ref": "#"}}}]}}}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"anyOf": [{"$ref": "#/definitions/a"}]}}, "properties": {"x": {"$ref": "#/definitions/a"}}}),
            json!({"properties": {"x": {"$id": "#n", "items": {"$ref": "#n"}, "contains": {"$ref": "#n"}}}}),
            json!({"properties": {"x": {"$anchor": "n", "items": {"$ref": "#n"}, "contains": {"$ref": "#n"}}}}),
        ] {
            assert!(check(&ring).is_err(), "{ring}");
        }
        assert!(check(&doubling(1_100, |next| json!({"allOf": [next]}))).is_err());
    }

    #[test]
    fn what_is_large_alone_is_not() {
        let node = json!({"definitions": {"node": {"properties": {
            "left": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/node"}]},
            "right": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/node"}]}}}},
            "$ref": "#/definitions/node"});
        check(&node).unwrap();
        let wide: serde_json::Map<String, Value> = (0..50_000)
            .map(|n| (format!("p{n}"), json!({"anyOf": [{"type": "null"}, {"$ref": "#/definitions/text"}]})))
            .collect();
        check(&json!({"definitions": {"text": {"type": "string"}}, "properties": wide})).unwrap();
        check(&doubling(900, |next| json!({"allOf": [next]}))).unwrap();
        // Each member is another one: the size of the record bounds it.
        check(&doubling(30, |next| json!({"properties": {"a": next, "b": next}}))).unwrap();
    }
}
