//! `/openapi.json`, and `/docs`: the same as a page that loads nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{Html, IntoResponse as _, Response};
use axum::{Extension, Router};
use http::header;
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use singer_common::operations::page::{Frame, breakable, count};

use crate::service::App;

/// Rules of this page alone.
const STYLE: &str = "
.operation { border-top: 1px solid var(--line); padding-top: 1rem; margin-top: 1.5rem; }
.operation h3 { overflow-wrap: anywhere; }
.operation p { max-width: 46rem; margin-top: .35rem; }
.operation details, .operation table { margin-top: .75rem; }
.verb { font-size: .8em; letter-spacing: .04em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .8rem; margin-top: .75rem; font-size: .9em; }
th code { overflow-wrap: normal; }
td > div { min-width: 0; text-align: inherit; }
@media (min-width: 48rem) { td:last-child { min-width: 13rem; } }
@media (max-width: 47.99rem) { .stack td[data-label] { grid-template-columns: 5rem 1fr; text-align: left; } }
";

/// What both routes answer.
#[derive(Debug)]
pub(super) struct Documentation {
    document: String,
    page: String,
}

/// The OpenAPI 3.1 document
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "docs", responses(
    (status = 200, description = "The document", body = Object)
))]
pub(super) async fn document(Extension(docs): Extension<Arc<Documentation>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], docs.document.clone()).into_response()
}

/// The document as a page for people
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "docs", responses(
    (status = 200, description = "The page", body = String, content_type = "text/html; charset=utf-8")
))]
pub(super) async fn page(Extension(docs): Extension<Arc<Documentation>>) -> Html<String> {
    Html(docs.page.clone())
}

/// Gives both routes what they answer.
pub(super) fn add(router: Router<App>, document: &Value) -> Router<App> {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    router.layer(Extension(Arc::new(Documentation { document: text, page: render(document) })))
}

/// An operation in the document.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    value: &'a Value,
}

fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the page of a document.
fn render(document: &Value) -> String {
    let mut by_tag: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, methods) in members(document, "paths") {
        for (method, value) in methods.as_object().into_iter().flatten() {
            let tag = list(value, "tags").find_map(Value::as_str).unwrap_or("other");
            by_tag.entry(tag).or_default().push(Operation { path, method, value });
        }
    }
    // In the order of the document's tags.
    let tags: Vec<&Value> =
        list(document, "tags").filter(|tag| by_tag.contains_key(text(tag, "name"))).collect();
    let schemas: Vec<(&String, &Value)> = document
        .get("components")
        .map(|components| members(components, "schemas").collect())
        .unwrap_or_default();
    let main = html! {
        (access(document))
        @for tag in &tags {
            @let name = text(tag, "name");
            section id={ "tag-" (name) } {
                h2 { (text(tag, "description")) }
                @for operation in by_tag.get(name).into_iter().flatten() { (operation_part(document, operation)) }
            }
        }
        section id="schemas" {
            h2 { "Schemas" }
            @for (name, schema) in &schemas { (schema_part(document, name, schema)) }
        }
    };
    let mut links: Vec<(String, &str)> = vec![("access".to_owned(), "Access")];
    links.extend(tags.iter().map(|tag| (format!("tag-{}", text(tag, "name")), text(tag, "name"))));
    links.push(("schemas".to_owned(), "schemas"));
    let links: Vec<(&str, &str)> = links.iter().map(|(id, text)| (id.as_str(), *text)).collect();
    let operations: usize = by_tag.values().map(Vec::len).sum();
    let version = document.get("info").map(|info| text(info, "version")).unwrap_or_default();
    let frame = Frame {
        kind: "HTTP interface",
        title: "ldap-service",
        style: STYLE,
        facts: &[
            ("version", html! { (version) }),
            ("for programs", html! { a href="/openapi.json" { "/openapi.json" } }),
        ],
        figures: &[(count(operations), plural_of(operations)), (count(schemas.len()), "schemas")],
        links: &links,
        footer: "Made of the same table as the routes.",
    };
    frame.around(&main).into_string()
}

fn plural_of(operations: usize) -> &'static str {
    if operations == 1 { "operation" } else { "operations" }
}

/// How callers prove who they are.
fn access(document: &Value) -> Markup {
    let schemes = document.get("components").map(|components| members(components, "securitySchemes"));
    html! {
        section id="access" {
            h2 { "Access" }
            p { "The lines for curl expect two variables: " code { "SERVICE" } ", the address of the service, and " code { "TOKEN" } ", a bearer token." }
            table.stack {
                thead { tr { th { "Scheme" } th { "Kind" } th { "Meaning" } } }
                tbody {
                    @for (name, scheme) in schemes.into_iter().flatten() {
                        tr {
                            th { code { (name) } }
                            td data-label="Kind" { div { (text(scheme, "type")) " " (text(scheme, "scheme")) } }
                            td data-label="Meaning" { div { (prose(text(scheme, "description"))) } }
                        }
                    }
                }
            }
        }
    }
}

fn operation_part(document: &Value, operation: &Operation<'_>) -> Markup {
    let Operation { path, method, value } = operation;
    let bodies = value.get("requestBody").map(|body| members(body, "content")).into_iter().flatten();
    let parameters: Vec<&Value> = list(value, "parameters").collect();
    html! {
        div.operation id={ "operation-" (text(value, "operationId")) } {
            h3 { span.verb { (method.to_uppercase()) } " " code { (breakable(path)) } }
            p { strong { (text(value, "summary")) } }
            p { (prose(text(value, "description"))) }
            p.quiet { (who(value)) }
            pre { code { (curl(document, operation)) } }
            @if !parameters.is_empty() {
                table.stack {
                    thead { tr { th { "Parameter" } th { "Type" } th { "Meaning" } } }
                    tbody {
                        @for parameter in parameters {
                            tr {
                                th { code { (text(parameter, "name")) } @if parameter["required"] == true { " " span.tag { "needed" } } }
                                td data-label="Type" { div { (text(parameter, "in")) ", " (kind(parameter.get("schema").unwrap_or(&Value::Null))) } }
                                td data-label="Meaning" { div { (prose(text(parameter, "description"))) } }
                            }
                        }
                    }
                }
            }
            @for (media, body) in bodies {
                p { "Body: " code { (media) } ", " (kind(body.get("schema").unwrap_or(&Value::Null))) }
            }
            (responses(document, value))
        }
    }
}

fn responses(document: &Value, operation: &Value) -> Markup {
    let example = members(operation, "responses").find(|(status, _)| status.starts_with('2')).and_then(
        |(_, response)| {
            let (_, media) = members(response, "content").next()?;
            example_of(document, media.get("schema")?, 0)
        },
    );
    html! {
        details {
            summary { "Answers" }
            table.stack {
                thead { tr { th { "Status" } th { "Meaning" } th { "Body" } } }
                tbody {
                    @for (status, response) in members(operation, "responses") {
                        tr {
                            th { code { (status) } }
                            td data-label="Meaning" { div { (prose(text(response, "description"))) } }
                            td data-label="Body" { div {
                                @for (n, (media, body)) in members(response, "content").enumerate() {
                                    @if n > 0 { ", or " }
                                    code { (breakable(media)) } " " (kind(body.get("schema").unwrap_or(&Value::Null)))
                                }
                            } }
                        }
                    }
                }
            }
            @if let Some(example) = example { pre { code { (pretty(&example)) } } }
        }
    }
}

fn schema_part(document: &Value, name: &str, schema: &Value) -> Markup {
    let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
    let has_members = members(schema, "properties").next().is_some();
    html! {
        details.operation id={ "schema-" (name) } {
            summary { code { (name) } }
            p { (prose(text(schema, "description"))) }
            @if has_members {
                table.stack {
                    thead { tr { th { "Member" } th { "Type" } th { "Meaning" } } }
                    tbody {
                        @for (member, of) in members(schema, "properties") {
                            tr {
                                th { code { (breakable(member)) } @if required.contains(&member.as_str()) { " " span.tag { "always" } } }
                                td data-label="Type" { div { (kind(of)) } }
                                td data-label="Meaning" { div { (prose(text(of, "description"))) } }
                            }
                        }
                    }
                }
            } @else {
                p { (kind(schema)) }
            }
            @if let Some(example) = example_of(document, schema, 0) { pre { code { (pretty(&example)) } } }
        }
    }
}

/// Returns text with its code between grave accents marked.
fn prose(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Returns who may call.
fn who(operation: &Value) -> Markup {
    let (mut ways, mut is_open) = (Vec::<(&String, Vec<&str>)>::new(), false);
    for way in list(operation, "security").filter_map(Value::as_object) {
        is_open |= way.is_empty();
        for (scheme, scopes) in way {
            ways.push((scheme, scopes.as_array().into_iter().flatten().filter_map(Value::as_str).collect()));
        }
    }
    html! {
        @if ways.is_empty() || is_open { "Anybody may call it. " }
        @if !ways.is_empty() {
            @if is_open { "It accepts " } @else { "It needs " }
            @for (n, (scheme, scopes)) in ways.iter().enumerate() {
                @if n > 0 { " or " }
                a href="#access" { (scheme) }
                @if !scopes.is_empty() { " with " @for scope in scopes { code { (scope) } } }
            }
            "."
        }
    }
}

/// Returns a type in words.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next()) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    for of in ["oneOf", "anyOf", "allOf"] {
        let parts: Vec<&Value> = list(schema, of).collect();
        if !parts.is_empty() {
            return html! { @for (n, part) in parts.iter().enumerate() { @if n > 0 { " or " } (kind(part)) } };
        }
    }
    let values: Vec<String> = list(schema, "enum").filter_map(Value::as_str).map(str::to_owned).collect();
    let mut names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_list = names.contains(&"array");
    names.retain(|name| *name != "array");
    html! {
        @if is_list { "list of " (kind(schema.get("items").unwrap_or(&Value::Null))) }
        @if is_list && !names.is_empty() { " or " }
        @if names.is_empty() && !is_list { "any value" }
        (names.join(" or "))
        @if let Some(format) = schema.get("format").and_then(Value::as_str) { " (" (format) ")" }
        @if !values.is_empty() { ": " @for (n, value) in values.iter().enumerate() { @if n > 0 { ", " } code { (value) } } }
    }
}

/// The depth to which examples are made.
const MOST_DEPTH: usize = 4;

/// Returns the example of a schema: its own, or one of those of its members.
fn example_of(document: &Value, schema: &Value, depth: usize) -> Option<Value> {
    if let Some(example) = schema.get("example").or_else(|| list(schema, "examples").next()) {
        return Some(example.clone());
    }
    if depth > MOST_DEPTH {
        return None;
    }
    if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
        return example_of(document, document.pointer(to.strip_prefix('#')?)?, depth + 1);
    }
    if let Some(part) = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|of| list(schema, of).next()) {
        return example_of(document, part, depth + 1);
    }
    if let Some(value) = list(schema, "enum").next() {
        return Some(value.clone());
    }
    if let Some(items) = schema.get("items") {
        return Some(json!([example_of(document, items, depth + 1)?]));
    }
    let mut object = Map::new();
    for (name, member) in members(schema, "properties") {
        if let Some(example) = example_of(document, member, depth + 1) {
            object.insert(name.clone(), example);
        }
    }
    (!object.is_empty()).then_some(Value::Object(object))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Returns a line for a shell.
fn curl(document: &Value, operation: &Operation<'_>) -> String {
    let Operation { path, method, value } = operation;
    let mut words = vec!["curl".to_owned()];
    let body = value.get("requestBody").and_then(|body| members(body, "content").next());
    let usual = if body.is_some() { "post" } else { "get" };
    if *method != usual {
        words.push(format!("-X {}", method.to_uppercase()));
    }
    let schemes: Vec<&String> =
        list(value, "security").filter_map(Value::as_object).flat_map(Map::keys).collect();
    if schemes.iter().any(|scheme| *scheme == "bearer") {
        words.push("-H \"Authorization: Bearer $TOKEN\"".to_owned());
    } else if schemes.iter().any(|scheme| *scheme == "basic") {
        words.push("-u ada".to_owned());
    }
    if let Some((media, body)) = body {
        words.push(format!("-H 'Content-Type: {media}'"));
        let example = body.get("example").cloned().or_else(|| example_of(document, body.get("schema")?, 0));
        words.push(match example {
            Some(Value::String(text)) => format!("--data-binary {}", quoted(&text)),
            Some(example) => format!("-d {}", quoted(&example.to_string())),
            None => "--data-binary @body".to_owned(),
        });
    }
    words.push(format!("\"$SERVICE{path}\""));
    words.join(" ")
}

/// Quotes a text for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_operation_and_schema_and_loads_nothing() {
        let document: Value = serde_json::from_str(&crate::routes::openapi().unwrap()).unwrap();
        let page = render(&document);
        let mut ids = std::collections::BTreeSet::new();
        for (path, methods) in members(&document, "paths") {
            for (method, operation) in methods.as_object().unwrap() {
                let id = text(operation, "operationId");
                assert!(!id.is_empty() && ids.insert(id), "{method} {path}: operationId `{id}`");
                assert!(page.contains(&format!("id=\"operation-{id}\"")), "{method} {path}");
                assert!(
                    !text(operation, "summary").is_empty() && list(operation, "tags").next().is_some(),
                    "{path}"
                );
            }
        }
        for (name, _) in members(&document["components"], "schemas") {
            assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
        }
        // Every link within the page leads somewhere.
        for link in page.split("href=\"#").skip(1) {
            let id = link.split('"').next().unwrap_or_default();
            assert!(page.contains(&format!("id=\"{id}\"")), "#{id}");
        }
        assert!(!page.contains("src=") && !page.contains("url("), "nothing is loaded");
        let elsewhere = page.split("href=\"").skip(1).filter(|link| !link.starts_with('#'));
        assert!(elsewhere.into_iter().all(|link| link.starts_with("/openapi.json\"")), "no other links");
    }

    #[test]
    fn a_line_for_curl_is_quoted() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let document: Value = serde_json::from_str(&crate::routes::openapi().unwrap()).unwrap();
        let path = "/api/v1/ldap/users/search";
        let value = &document["paths"][path]["post"];
        let line = curl(&document, &Operation { path, method: "post", value });
        assert!(
            line.starts_with(
                "curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{"
            ),
            "{line}"
        );
        assert!(line.ends_with("}' \"$SERVICE/api/v1/ldap/users/search\""), "{line}");
    }
}
