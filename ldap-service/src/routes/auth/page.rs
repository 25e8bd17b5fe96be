//! The login page: `GET` and `POST /login`, `POST /logout`.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ldap_directory::secret::NonEmptyPassword;
use maud::{Markup, html};
use singer_common::operations::page::{Frame, visible};
use utoipa::ToSchema;

use super::notice::Notice;
use super::{check, return_to, user_of_session};
use crate::error::ApiError;
use crate::login::Credentials;
use crate::service::{App, Client, Current, Service};
use crate::sessions;

const STYLE: &str = "
main { max-width: 26rem; }
form { display: grid; gap: .9rem; padding: 1.1rem 1.25rem 1.25rem; }
label { display: grid; gap: .25rem; font-weight: 500; }
form input { width: 100%; border-color: var(--quiet); }
form button { min-height: 2.6rem; border: 1px solid var(--accent); border-radius: 8px; padding: .35rem 1rem;
  background: var(--accent); color: var(--paper); font-weight: 600; cursor: pointer; }
form button:hover { filter: brightness(1.1); }
.next { display: inline-block; margin: 0 0 1rem; font-weight: 600; }
";

/// What a browser sends to log in.
#[derive(Default, ToSchema)]
pub(in crate::routes) struct LoginForm {
    /// The login name.
    username: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
    /// The token of the page that had the form.
    form_token: String,
    /// Where the login leads back to.
    #[schema(required = false)]
    return_to: String,
}

/// What a browser sends to log out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a part of the form")]
pub(in crate::routes) struct LogoutForm {
    /// The token of the page that had the form.
    form_token: String,
    /// Where the logout leads to.
    #[schema(required = false)]
    return_to: String,
}

impl LoginForm {
    fn parse(body: &Bytes) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "username" => &mut form.username,
                "password" => &mut form.password,
                "form_token" => &mut form.form_token,
                "return_to" => &mut form.return_to,
                _ => continue,
            };
            *field = value.into_owned();
        }
        form
    }
}

/// A request for a page.
struct Visit {
    service: std::sync::Arc<Service>,
    client: Client,
    headers: HeaderMap,
}

/// What a page shows.
#[derive(Default)]
struct Shown<'a> {
    /// What went wrong.
    problem: Option<&'a str>,
    /// The login name in the field.
    username: &'a str,
    /// Where a login leads back to, checked.
    return_to: Option<&'a str>,
    /// The user who is logged in.
    logged_in: Option<&'a str>,
    /// What the user must know before going on, and where that leads.
    notice: Option<(&'a Notice, &'a str)>,
}

impl Visit {
    fn checked_return_to(&self, target: &str) -> Option<String> {
        let hosts = &self.service.config.login.return_hosts;
        return_to::checked(target, self.client.host.as_deref(), hosts)
    }

    /// Returns the page with its headers.
    fn page(&self, status: StatusCode, shown: &Shown<'_>) -> Result<Response, ApiError> {
        let (token, cookie) = self.service.sessions.form(&self.headers, self.client.is_secure)?;
        let main = match shown.logged_in {
            Some(name) => logged_in(name, &token, shown.notice),
            None => form(shown, &token),
        };
        let title = match (shown.notice, shown.logged_in) {
            (Some((notice, _)), _) => notice.title,
            (None, Some(_)) => "You are logged in",
            (None, None) => "Log in",
        };
        let frame = Frame {
            kind: self.client.host.as_deref().unwrap_or("ldap-service"),
            title,
            style: STYLE,
            facts: &[],
            figures: &[],
            links: &[],
            footer: "",
        };
        // A redirect after a form is a part of sending it.
        let hosts = self.service.config.login.return_hosts.iter();
        let action = hosts
            .filter(|host| is_host(host))
            .fold("'self'".to_owned(), |action, host| format!("{action} https://{host} http://{host}"));
        let (page, policy) = frame.form(&main, &action);
        let mut response = (status, axum::response::Html(page.into_string())).into_response();
        let headers = response.headers_mut();
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if let Some(cookie) = cookie {
            add_cookie(headers, &cookie);
        }
        Ok(response)
    }

    /// Returns the page for an error, with its status.
    fn problem_page(&self, error: &ApiError, form: &LoginForm) -> Result<Response, ApiError> {
        let problem = problem_text(error);
        let return_to = self.checked_return_to(&form.return_to);
        let shown = Shown {
            problem: Some(&problem),
            username: &form.username,
            return_to: return_to.as_deref(),
            ..Shown::default()
        };
        let mut response = self.page(error.status, &shown)?;
        if let Some(at) = error.answer_at {
            response.extensions_mut().insert(at);
        }
        if let Some(after) = error.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        Ok(response)
    }

    fn is_own_form(&self, form: &LoginForm) -> bool {
        self.service.sessions.is_own_form(&self.headers, self.client.is_secure, &form.form_token)
    }
}

/// Whether a setting is a host with an optional port, and nothing that would change a policy.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c))
}

fn add_cookie(headers: &mut HeaderMap, cookie: &Cookie<'_>) {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Returns what a person reads about an error.
fn problem_text(error: &ApiError) -> String {
    match error.code {
        "invalid_credentials" => "The name or the password is wrong.".to_owned(),
        "too_many_attempts" => {
            let minutes = error.retry_after.map_or(1, |after| after.as_secs().div_ceil(60)).max(1);
            let unit = if minutes == 1 { "minute" } else { "minutes" };
            format!("Too many logins have failed. Try again in {minutes} {unit}.")
        }
        "password_expired" => "Your password has expired. Have a new one set.".to_owned(),
        "password_must_change" => "You must change your password first.".to_owned(),
        "account_disabled" => "Your account is disabled.".to_owned(),
        "account_expired" => "Your account has expired.".to_owned(),
        "not_at_this_time" => "Your account may not log in at this time.".to_owned(),
        "not_from_here" => "Your account may not log in from here.".to_owned(),
        "form_expired" => "This page was open for too long, or cookies are off. Try again.".to_owned(),
        _ if error.status == StatusCode::SERVICE_UNAVAILABLE => {
            "The directory does not answer at the moment. Your password was not rejected. Try again later."
                .to_owned()
        }
        _ => "That did not work. Try again.".to_owned(),
    }
}

fn form(shown: &Shown<'_>, token: &str) -> Markup {
    html! {
        @if let Some(problem) = shown.problem {
            div.verdict.alarm role="alert" { p { (problem) } }
        }
        form.box method="post" action="/login" {
            input type="hidden" name="form_token" value=(token);
            @if let Some(target) = shown.return_to { input type="hidden" name="return_to" value=(target); }
            label {
                "User name"
                input name="username" value=(visible(shown.username)) autocomplete="username" autocapitalize="none"
                    autocorrect="off" spellcheck="false" required autofocus;
            }
            label {
                "Password"
                input name="password" type="password" autocomplete="current-password" required;
            }
            button type="submit" { "Log in" }
        }
    }
}

fn logged_in(name: &str, token: &str, notice: Option<(&Notice, &str)>) -> Markup {
    html! {
        @if let Some((notice, next)) = notice {
            div.verdict.alarm role="alert" { p { (notice.text) } }
            p { a.next href=(next) { "Continue" } }
        }
        form.box method="post" action="/logout" {
            p { "Logged in as " strong { (visible(name)) } "." }
            input type="hidden" name="form_token" value=(token);
            button type="submit" { "Log out" }
        }
    }
}

/// The login page
///
/// A form, or who is logged in. It needs no script.
#[utoipa::path(get, path = "/login", operation_id = "loginPage", tag = "login",
    params(("return_to" = Option<String>, Query, description = "Where a login leads back to: a path of this host, or a URL of a host in `login.return_hosts`")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 503, description = "The directory cannot tell whether the session is still valid", body = String, content_type = "text/html")
))]
pub(in crate::routes) async fn get(
    Current(service): Current,
    client: Client,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let visit = Visit { service, client, headers };
    let target = return_to::of_query(query.as_deref().unwrap_or_default());
    let return_to = target.and_then(|target| visit.checked_return_to(&target));
    let user = user_of_session(&visit.service, &visit.client, &visit.headers).await;
    let shown = match &user {
        Some(Ok(user)) => Shown { logged_in: Some(&user.username), ..Shown::default() },
        Some(Err(error)) if error.status == StatusCode::SERVICE_UNAVAILABLE => {
            let form = LoginForm { return_to: return_to.unwrap_or_default(), ..LoginForm::default() };
            return visit.problem_page(error, &form);
        }
        Some(Err(_)) | None => Shown { return_to: return_to.as_deref(), ..Shown::default() },
    };
    visit.page(StatusCode::OK, &shown)
}

/// Log in by the form of the login page
///
/// Sets the cookie of a session, and leads back.
#[utoipa::path(post, path = "/login", operation_id = "loginForm", tag = "login",
    request_body(content = LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Logged in, and the password expires soon or has expired: the page says so, and leads back", body = String, content_type = "text/html"),
        (status = 303, description = "Logged in: `Location` leads back"),
        (status = 401, description = "The name or the password is wrong", body = String, content_type = "text/html"),
        (status = 403, description = "The account cannot be used, or the form is not of this browser", body = String, content_type = "text/html"),
        (status = 413, description = "The body is too large", body = serde_json::Value, content_type = "application/problem+json"),
        (status = 429, description = "Too many logins have failed", body = String, content_type = "text/html"),
        (status = 503, description = "The directory cannot tell", body = String, content_type = "text/html")
))]
pub(in crate::routes) async fn post(
    State(app): State<App>,
    Current(service): Current,
    client: Client,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut form = LoginForm::parse(&body);
    let visit = Visit { service, client, headers };
    if !visit.is_own_form(&form) {
        return visit.problem_page(&not_own_form(), &form);
    }
    let (service, client) = (&visit.service, &visit.client);
    let credentials = Credentials {
        name: form.username.clone(),
        password: NonEmptyPassword::new(std::mem::take(&mut form.password)),
        address: Some(client.address),
    };
    let logged_in = match check(&app, service, credentials).await {
        Ok(logged_in) => logged_in,
        Err(error) => return visit.problem_page(&error, &form),
    };
    let cookie = service.sessions.begin(&logged_in.user, client.site())?;
    let target = visit.checked_return_to(&form.return_to).unwrap_or_else(|| "/login".to_owned());
    let Some(notice) = Notice::of(&logged_in.password) else { return Ok(redirect(&target, &cookie)) };
    let (name, notice) = (Some(logged_in.user.username.as_str()), Some((&notice, target.as_str())));
    let mut response = visit.page(StatusCode::OK, &Shown { logged_in: name, notice, ..Shown::default() })?;
    add_cookie(response.headers_mut(), &cookie);
    Ok(response)
}

/// Log out
///
/// Ends the session, also for who has copied its cookie.
#[utoipa::path(post, path = "/logout", tag = "login",
    request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "Logged out: `Location` leads to the login page"),
        (status = 403, description = "The form is not of this browser", body = String, content_type = "text/html"),
        (status = 413, description = "The body is too large", body = serde_json::Value, content_type = "application/problem+json")
))]
pub(in crate::routes) async fn logout(
    Current(service): Current,
    client: Client,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let form = LoginForm::parse(&body);
    let visit = Visit { service, client, headers };
    if !visit.is_own_form(&form) {
        return visit.problem_page(&not_own_form(), &form);
    }
    let is_secure = visit.client.is_secure;
    if let Some(session) = visit.service.sessions.of(&visit.headers, visit.client.site()) {
        visit.service.sessions.end(&session);
    }
    let target = visit.checked_return_to(&form.return_to).unwrap_or_else(|| "/login".to_owned());
    Ok(redirect(&target, &sessions::removal(is_secure)))
}

fn not_own_form() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "form_expired", "the form does not belong to this browser")
}

fn redirect(target: &str, cookie: &Cookie<'_>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(target) = HeaderValue::from_str(target) {
        headers.insert(header::LOCATION, target);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_cookie(headers, cookie);
    response
}
