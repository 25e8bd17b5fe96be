//! Settings that can never work, as far as they say so themselves: each value is valid, and together they give nothing. What only the
//! directory knows is found out by `check`.

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use ldap_directory::nearest::nearest;
use ldap_directory::schema::Schema;
use serde_json::Value;
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;

use super::{Config, JwtConfig, UsersConfig, WriteConfig};

/// The shortest prefixes of networks of proxies: those of the largest private networks (RFC 1918, RFC 4193).
const LEAST_PREFIX: u8 = 8;
const LEAST_PREFIX_6: u8 = 7;
/// The least octets of a body: a login has more.
const LEAST_BODY: usize = 64;
/// The least octets of a header: a UUID has so many.
const LEAST_HEADER: usize = 36;

/// Checks all settings.
///
/// # Errors
/// One can never work: it is named, with what would be right.
pub(super) fn check(config: &Config, warnings: &mut Vec<Warning>) -> Result<(), SettingsError> {
    filters(config)?;
    for (n, host) in config.login.return_hosts.iter().enumerate() {
        return_host(&format!("login.return_hosts[{n}]"), host)?;
    }
    limits(config)?;
    trusted_proxies(config, warnings);
    claims(config, warnings)?;
    if let Some(write) = &config.write {
        rules(config, write, warnings)?;
    }
    for (n, rule) in config.roles.iter().enumerate() {
        if !rule.scopes.is_empty() && config.jwt.is_none() {
            let setting = format!("roles[{n}].scopes");
            let text = format!(
                "setting `{setting}`: scopes of roles are for callers with a JWT, and `jwt` is not set"
            );
            warnings.push(Warning::of_setting(setting, text));
        }
    }
    let takes_certificates = config.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    if takes_certificates && config.client_certificates.is_empty() {
        let text = "setting `listen_client_ca_file`: certificates are asked for, and client_certificates accepts none";
        warnings.push(Warning::of_setting("listen_client_ca_file", text));
    }
    Ok(())
}

fn key(dn: &str) -> Option<DnKey> {
    DnKey::parse(dn, Schema::standard()).ok()
}

/// Whether one of two entries is the other one, or above it.
fn overlap(a: &str, b: &str) -> bool {
    match (key(a), key(b)) {
        (Some(a), Some(b)) => a.is_within(&b) || b.is_within(&a),
        _ => true,
    }
}

/// Whether a filter is false or undefined, whatever the entry is.
fn is_never_true(filter: &Filter) -> bool {
    match filter {
        Filter::Or(any) => any.iter().all(is_never_true),
        Filter::And(all) => {
            let negated = |part: &Filter| all.contains(&Filter::Not(Box::new(part.clone())));
            all.iter().any(|part| is_never_true(part) || negated(part))
        }
        Filter::Not(inner) => is_always_true(inner),
        _ => false,
    }
}

fn is_always_true(filter: &Filter) -> bool {
    match filter {
        Filter::Or(any) => any.iter().any(is_always_true),
        Filter::And(all) => all.iter().all(is_always_true),
        Filter::Not(inner) => matches!(&**inner, Filter::Or(any) if any.is_empty()),
        Filter::Present(name) => name.eq_ignore_ascii_case("objectClass"),
        _ => false,
    }
}

/// `users.filter` and `groups.filter`
fn filters(config: &Config) -> Result<(), SettingsError> {
    let users = Some(("users.filter", &config.users.filter, &config.users.base_dn));
    let groups = config.groups.as_ref().map(|groups| ("groups.filter", &groups.filter, &groups.base_dn));
    for (setting, filter, _) in users.iter().chain(&groups) {
        if is_never_true(filter.usual()) {
            let problem = format!("`{}` matches no entry, whatever it is", filter.usual());
            return Err(SettingsError::value(*setting, problem, "a filter that entries match"));
        }
    }
    if let (Some((_, of_users, base)), Some((setting, of_groups, other))) = (users, groups)
        && of_users.usual() == of_groups.usual()
        && overlap(base, other)
    {
        let problem = format!(
            "`{}` is users.filter, too, and the bases overlap: each user would be a group",
            of_groups.usual()
        );
        return Err(SettingsError::value(
            setting,
            problem,
            "the filter of the groups, for example (objectClass=groupOfNames)",
        ));
    }
    Ok(())
}

/// An element of `login.return_hosts`: compared with the host of a URL, octet for octet.
fn return_host(setting: &str, host: &str) -> Result<(), SettingsError> {
    let is_host = |text: &str| {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<std::net::Ipv6Addr>().is_ok();
        }
        let is_label = |label: &str| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_host(name) && is_port {
        return Ok(());
    }
    let problem = format!("`{host}` is the host of no URL");
    let expected = "a host, with a port if its URLs have one: app.example.com, app.example.com:8443. There are no patterns: name each host";
    Err(SettingsError::value(setting, problem, expected))
}

fn limits(config: &Config) -> Result<(), SettingsError> {
    let limits = &config.limits;
    let small = [
        ("request_bytes", limits.request_bytes, LEAST_BODY),
        ("header_bytes", limits.header_bytes, LEAST_HEADER),
    ];
    match small.into_iter().find(|(_, octets, least)| octets < least) {
        Some((name, octets, least)) => {
            let problem = format!("{octets}, which no login fits in");
            let expected = format!("a whole number of at least {least}");
            Err(SettingsError::value(format!("limits.{name}"), problem, expected))
        }
        None => Ok(()),
    }
}

/// `trusted_proxies`: whoever connects from there says which client asks, by which host and scheme.
fn trusted_proxies(config: &Config, warnings: &mut Vec<Warning>) {
    for (n, network) in config.trusted_proxies.iter().enumerate() {
        let problem = if network.prefix_len()
            < if network.addr().is_ipv4() { LEAST_PREFIX } else { LEAST_PREFIX_6 }
        {
            "so many hosts are no proxies: each of them may name any client address, and the limit for each address has no effect"
        } else if network.trunc() != *network {
            "an address within a network: all of the network is trusted"
        } else {
            continue;
        };
        let setting = format!("trusted_proxies[{n}]");
        let text = format!("setting `{setting}`: `{network}`: {problem}; `{}` is trusted", network.trunc());
        warnings.push(Warning::of_setting(setting, text));
    }
}

/// `jwt.username_claim`, `jwt.username_attribute` and `jwt.client_claim`
fn claims(config: &Config, warnings: &mut Vec<Warning>) -> Result<(), SettingsError> {
    const OF_TIME: [&str; 4] = ["exp", "iat", "nbf", "auth_time"];
    let Some(jwt) = &config.jwt else { return Ok(()) };
    let name = &jwt.username_claim;
    let problem = if name.trim().is_empty() {
        "empty".to_owned()
    } else if OF_TIME.contains(&name.as_str()) {
        format!("`{name}` is a time, and no login name")
    } else if jwt.client_claim.as_ref() == Some(name) {
        format!("`{name}` is client_claim, too: each token would be that of a program")
    } else {
        return username_attribute(config, jwt, warnings);
    };
    Err(SettingsError::value(
        "jwt.username_claim",
        problem,
        "the claim with the login name, for example preferred_username",
    ))
}

/// `jwt.username_attribute`: one that names are compared with.
fn username_attribute(
    config: &Config,
    jwt: &JwtConfig,
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    let mut known: Vec<&str> = config.users.login_attributes.iter().map(String::as_str).collect();
    if known.is_empty() {
        // Which one it is, the directory shows.
        known.extend(UsersConfig::USUAL_LOGIN_ATTRIBUTES);
    }
    if jwt.username_claim == JwtConfig::EMAIL {
        let setting = "jwt.username_claim";
        let text = format!(
            "setting `{setting}`: `email` is what people may have typed at the provider; tokens with an email_verified other than true are refused, and without email_verified (Entra ID) anybody's address is accepted"
        );
        warnings.push(Warning::of_setting(setting, text));
    }
    let Some(attribute) = &jwt.username_attribute else { return Ok(()) };
    if known.iter().any(|name| name.eq_ignore_ascii_case(attribute)) {
        return Ok(());
    }
    let problem = format!("`{attribute}` is none of users.login_attributes, which names are looked up by");
    let expected = format!("one of {}", known.join(", "));
    Err(SettingsError::value("jwt.username_attribute", problem, expected)
        .near(nearest(attribute, known.iter().copied())))
}

/// `write`
fn rules(config: &Config, write: &WriteConfig, warnings: &mut Vec<Warning>) -> Result<(), SettingsError> {
    let groups = config.groups.as_ref().map(|groups| &groups.base_dn);
    let bases: Vec<&String> = std::iter::once(&config.users.base_dn).chain(groups).collect();
    if let Some(allowed) = &write.protection.write_base
        && !allowed.iter().any(|dn| bases.iter().any(|base| overlap(dn, base)))
    {
        let problem =
            "none of these is at, above or below users.base_dn or groups.base_dn: nothing could be written";
        return Err(SettingsError::value(
            "write.write_base",
            problem,
            "DNs within the bases of users or groups",
        ));
    }
    for (kind, rule) in &write.mapping_rules {
        let path = format!("write.mapping_rules.{kind}");
        let base = match (kind.as_str(), groups) {
            ("users", _) => &config.users.base_dn,
            (_, Some(base)) => base,
            _ => {
                let text = format!("setting `{path}`: `groups` is not set, so that the rule writes nothing");
                warnings.push(Warning::of_setting(path, text));
                continue;
            }
        };
        if let Some(template) = rule.get("dn_template").and_then(Value::as_str) {
            dn_template(&format!("{path}.dn_template"), template, (kind, base))?;
        }
        if let Some(on_delete) = rule.get("on_delete") {
            warnings.extend(on_delete_keeps(&path, kind, on_delete, base, &config.users));
        }
    }
    Ok(())
}

/// A template of DNs. One RDN is relative to the base.
fn dn_template(setting: &str, template: &str, (kind, base): (&str, &str)) -> Result<(), SettingsError> {
    let expected = format!("a template of DNs below {kind}.base_dn, for example uid={{uid}},{base}");
    let plain = template.replace("{{", "").replace("}}", "");
    if !plain.contains('{') {
        let problem = format!("`{template}` is the same DN for each entry");
        return Err(SettingsError::value(setting, problem, expected));
    }
    // Behind the last placeholder, and what belongs to its RDN.
    let tail = template.rsplit('}').next().and_then(|rest| Some(rest.split_once(',')?.1)).unwrap_or_default();
    if tail.trim().is_empty() || overlap(tail, base) {
        return Ok(());
    }
    let problem =
        format!("`{template}` makes DNs outside of {kind}.base_dn, `{base}`, where nothing is written");
    Err(SettingsError::value(setting, problem, expected))
}

/// Returns a warning of an `on_delete` that keeps entries which still are of their kind: only accounts that are disabled before can be
/// deleted.
fn on_delete_keeps(
    path: &str,
    kind: &str,
    on_delete: &Value,
    base: &str,
    users: &UsersConfig,
) -> Option<Warning> {
    const LOCKS: [&str; 5] =
        ["nsAccountLock", "pwdAccountLockedTime", "userAccountControl", "pwdEndTime", "accountExpires"];
    let effect = "an entry that is deleted would still be one of them, and the deletion is refused unless the account is disabled before";
    let setting = format!("{path}.on_delete");
    if let Some(place) = on_delete.get("move_to").and_then(Value::as_str) {
        let is_within =
            matches!((key(place), key(base)), (Some(place), Some(base)) if place.is_within(&base));
        // A filter may look at the parts of DNs.
        let looks_at_dns = users.filter.usual().to_string().contains(":dn:");
        let text = format!("setting `{setting}.move_to`: `{place}` is within {kind}.base_dn: {effect}");
        return (is_within && !looks_at_dns).then(|| Warning::of_setting(format!("{setting}.move_to"), text));
    }
    let values = on_delete.get("set").and_then(Value::as_object)?;
    let asked = users.filter.usual().attributes();
    let counts = |name: &String| {
        asked
            .iter()
            .copied()
            .chain(LOCKS)
            .chain(users.active_attribute())
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    let text = format!(
        "setting `{setting}.set`: {kind}.filter asks for none of these attributes, and they disable nothing: {effect}"
    );
    (kind == "users" && !values.keys().any(counts))
        .then(|| Warning::of_setting(format!("{setting}.set"), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_hosts_of_urls() {
        for (host, is_right) in [
            ("app.example.com", true),
            ("app.example.com:8443", true),
            ("localhost", true),
            ("127.0.0.1:8080", true),
            ("[::1]", true),
            ("[::1]:8443", true),
            ("my_app", true),
            ("*", false),
            ("*.example.com", false),
            (".example.com", false),
            ("example.com.", true),
            ("example..com", false),
            ("https://app.example.com", false),
            ("app.example.com/", false),
            ("app.example.com/path", false),
            ("app.example.com:", false),
            ("app.example.com:0", false),
            ("app.example.com:https", false),
            ("user@app.example.com", false),
            (" app.example.com", false),
            ("::1", false),
            ("", false),
        ] {
            assert_eq!(return_host("x", host).is_ok(), is_right, "{host}");
        }
    }

    #[test]
    fn some_filters_match_nothing() {
        for (text, expected) in [
            ("(|)", true),
            ("(!(&))", true),
            ("(!(objectClass=*))", true),
            ("(&(uid=*)(|))", true),
            ("(&(a=b)(c=d)(!(a=b)))", true),
            ("(|(|)(uid=*))", false),
            ("(&(a=b)(!(a=c)))", false),
            ("(&)", false),
        ] {
            assert_eq!(is_never_true(&Filter::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn templates_make_dns_below_the_base() {
        let base = "ou=people,dc=x";
        for (template, is_right) in [
            ("uid={uid}", true),
            ("uid={uid},ou=people,dc=x", true),
            ("uid={uid}, OU=People, DC=X", true),
            ("uid={uid}+cn=x,ou=staff,ou=people,dc=x", true),
            ("uid={uid},ou={unit},dc=x", true),
            ("{dn}", true),
            ("uid={uid},ou=svc,dc=x", false),
            ("uid={uid},ou=people,dc=y", false),
            ("cn=same,ou=people,dc=x", false),
            ("cn={{same}},ou=people,dc=x", false),
        ] {
            assert_eq!(dn_template("x", template, ("users", base)).is_ok(), is_right, "{template}");
        }
    }
}
