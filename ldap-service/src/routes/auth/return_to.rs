//! Where a login leads back to: the own host, and hosts of `login.return_hosts`.

use http::Uri;

/// Returns the target of a query, `return_to=…`.
///
/// nginx and Caddy cannot encode: behind `return_to=` is then the URI of a page as it is, with a query of its own, which belongs to it.
pub(super) fn of_query(query: &str) -> Option<String> {
    let value = match query.strip_prefix("return_to=") {
        Some(value) => value,
        None => query.split_once("&return_to=")?.1,
    };
    if ["/", "http://", "https://"].iter().any(|start| value.starts_with(start)) {
        return Some(value.to_owned());
    }
    let encoded = value.split('&').next().unwrap_or_default();
    form_urlencoded::parse(format!("return_to={encoded}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
}

/// Returns a target if a login may lead there, else `None`: a path of the own host, or a URL of one of `hosts`.
pub(super) fn checked(target: &str, own_host: Option<&str>, hosts: &[String]) -> Option<String> {
    // Browsers take a backslash for a slash, and remove tabs and line ends.
    if target.is_empty() || target.contains(|c: char| c == '\\' || c.is_control() || c.is_whitespace()) {
        return None;
    }
    if target.starts_with('/') {
        // `//host` is a URL.
        let is_path =
            !target.starts_with("//") && target.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none());
        // Not in a header: what is beyond ASCII.
        return (is_path && target.is_ascii()).then(|| target.to_owned());
    }
    let uri: Uri = target.parse().ok()?;
    let authority = uri.authority()?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.as_str().contains('@') {
        return None;
    }
    if own_host.is_some_and(|own| own.eq_ignore_ascii_case(authority.as_str())) {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        return checked(path, None, &[]);
    }
    // A host with or without a port, as the setting has it.
    let is_listed = |host: &String| {
        host.eq_ignore_ascii_case(authority.as_str())
            || (authority.port().is_none() && host.eq_ignore_ascii_case(authority.host()))
    };
    hosts.iter().any(is_listed).then(|| uri.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_query_is_read_encoded_and_as_it_is() {
        for (query, target) in [
            ("return_to=/page?a=1&b=2", Some("/page?a=1&b=2")),
            ("return_to=%2Fpage%3Fa%3D1&b=2", Some("/page?a=1")),
            ("return_to=https://a.example/x?a=1&b=2", Some("https://a.example/x?a=1&b=2")),
            ("return_to=https%3A%2F%2Fa.example%2Fx&b=2", Some("https://a.example/x")),
            ("x=1&return_to=/a", Some("/a")),
            ("return_to=https%3A%2F%2Fapp%2F", Some("https://app/")),
            ("return_to=", Some("")),
            ("other=/a", None),
            ("", None),
        ] {
            assert_eq!(of_query(query).as_deref(), target, "{query}");
        }
    }

    #[test]
    fn the_way_back_is_to_own_hosts_only() {
        let hosts = ["app.example.com".to_owned(), "other.example.com:8443".to_owned()];
        let checked = |target: &str| checked(target, Some("auth.example.com:8080"), &hosts);
        for (target, expected) in [
            ("/", "/"),
            ("/page?a=1&b=%2F", "/page?a=1&b=%2F"),
            ("/page?u=https://evil.test/", "/page?u=https://evil.test/"),
            ("https://app.example.com/x", "https://app.example.com/x"),
            ("https://APP.example.com", "https://APP.example.com/"),
            ("https://other.example.com:8443/", "https://other.example.com:8443/"),
            ("http://auth.example.com:8080/x?y", "/x?y"),
        ] {
            assert_eq!(checked(target).as_deref(), Some(expected), "{target}");
        }
        for target in [
            "",
            "page",
            "//evil.test/",
            "///evil.test/",
            "/\\evil.test/",
            "\\\\evil.test",
            "/\t/evil.test",
            "/\n/evil.test",
            " https://app.example.com/",
            "https://evil.test/",
            "https://app.example.com.evil.test/",
            "https://app.example.com:99/",
            "https://app.example.com@evil.test/",
            "https://x@app.example.com/",
            "https://other.example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://app.example.com/",
            "http:app.example.com",
            "http://auth.example.com:8080//evil.test/",
            "/é",
        ] {
            assert_eq!(checked(target), None, "{target}");
        }
    }
}
