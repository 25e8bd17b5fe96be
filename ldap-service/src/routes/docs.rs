//! `/openapi.json`, and `/docs`: the same as a page that loads nothing.

use axum::Router;
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use http::header;
use maud::{Markup, html};
use serde_json::Value;
use singer_common::operations::page::Frame;

use crate::service::App;

/// Adds the two routes.
pub(super) fn add(router: Router<App>, document: &Value) -> Router<App> {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    let page = page(document);
    router
        .route(
            "/openapi.json",
            get(move || {
                let text = text.clone();
                async move { ([(header::CONTENT_TYPE, "application/json")], text).into_response() }
            }),
        )
        .route(
            "/docs",
            get(move || {
                let page = page.clone();
                async move { Html(page) }
            }),
        )
}

fn page(document: &Value) -> String {
    let empty = serde_json::Map::new();
    let paths = document.get("paths").and_then(Value::as_object).unwrap_or(&empty);
    let main = html! {
        @for (path, methods) in paths {
            @for (method, operation) in methods.as_object().into_iter().flatten() {
                (operation_section(path, method, operation))
            }
        }
    };
    let frame = Frame {
        kind: "Interface",
        title: "ldap-service",
        style: "",
        facts: &[],
        figures: &[],
        links: &[],
        footer: "The same as a document for programs: /openapi.json",
    };
    frame.around(&main).into_string()
}

fn operation_section(path: &str, method: &str, operation: &Value) -> Markup {
    let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default();
    html! {
        section {
            h2 { code { (method.to_uppercase()) " " (path) } }
            p { (text("summary")) }
            @for line in text("description").lines() { p { (line) } }
            table {
                @for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                    tr {
                        td { code { (parameter["name"].as_str().unwrap_or_default()) } }
                        td { (parameter["in"].as_str().unwrap_or_default()) }
                        td { (parameter["description"].as_str().unwrap_or_default()) }
                    }
                }
                @for (status, response) in operation.get("responses").and_then(Value::as_object).into_iter().flatten() {
                    tr {
                        td { code { (status) } }
                        td { "answer" }
                        td { (response["description"].as_str().unwrap_or_default()) }
                    }
                }
            }
        }
    }
}
