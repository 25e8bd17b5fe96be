//! Login and forward authentication: `POST /api/v1/auth/login`, `GET /api/v1/auth/me`, `GET /api/v1/auth/forward`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use ldap_directory::client::PasswordState;
use ldap_directory::secret::NonEmptyPassword;
use serde::Serialize;
use serde_json::Value;
use singer_common::operations::observe;
use utoipa::ToSchema;

use crate::caller;
use crate::config::Scope;
use crate::error::ApiError;
use crate::login::{Credentials, LoggedIn, Login, User};
use crate::service::{App, Client, Current, Service};

use super::body;
use crate::tokens::unique_json;

pub(super) mod forward;
mod identity_headers;
mod notice;
pub(super) mod page;
mod return_to;

/// A login. The password is not shown by `Debug`.
#[derive(ToSchema)]
pub(super) struct LoginRequest {
    /// The login name: a value of one of `users.login_attributes`.
    username: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// The answer to a login.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoginAnswer {
    user: User,
    password: PasswordAnswer,
}

/// What the directory reports about the password.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasswordAnswer {
    /// The seconds until it expires, if the directory warns of it.
    expires_in_seconds: Option<u64>,
    /// How many logins an expired password still allows.
    grace_logins: Option<u32>,
    /// Whether it must be changed. A login with such a password is refused (403 `password_must_change`), so this is `false`.
    must_change: bool,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserAnswer {
    user: User,
}

impl From<PasswordState> for PasswordAnswer {
    fn from(state: PasswordState) -> Self {
        Self {
            expires_in_seconds: state.expires_in.map(|time| time.as_secs()),
            grace_logins: state.grace_logins,
            must_change: state.must_change,
        }
    }
}

/// The members by which a request would choose where its password goes (trap 9).
const NOT_OF_A_REQUEST: [&str; 4] = ["server_url", "bind_dn", "bind_password", "base_dn"];

impl LoginRequest {
    fn parse(octets: &Bytes) -> Result<Self, ApiError> {
        let wrong = |detail: String| ApiError::bad_request("invalid_request", detail);
        // Without the values: one of them is a password.
        let value = unique_json(octets).map_err(wrong)?;
        if body::spelled_twice(&value).is_some() {
            return Err(wrong("the body has a name twice in an object, in other letters".into()));
        }
        let Value::Object(mut members) = value else {
            return Err(wrong("the body must be an object with `username` and `password`".into()));
        };
        if let Some(name) = NOT_OF_A_REQUEST.into_iter().find(|name| members.contains_key(*name)) {
            let detail =
                format!("`{name}`: server, bind and base are the service's own, and not a request's");
            return Err(ApiError::bad_request("server_is_configured", detail));
        }
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(wrong(format!("`{name}` must be a text"))),
        };
        Ok(Self { username: text("username")?, password: text("password")? })
    }
}

/// Check a name and a password
///
/// By exactly one bind of the directory. 401 has one body and one time for an unknown name, a wrong password, a locked account, and a name
/// that fits several entries. Reasons are told only after the right password (403). A caller with the scope `login` is not limited by its
/// address.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "login", security((), ("bearer" = ["login"])),
    request_body(content = LoginRequest),
    responses(
        (status = 200, description = "The password is right, and the account can be used", body = LoginAnswer),
        (status = 400, description = "Not a login: `invalid_request`, `server_is_configured`", body = Value, content_type = "application/problem+json"),
        (status = 401, description = "The name or the password is wrong: `invalid_credentials`", body = Value, content_type = "application/problem+json"),
        (status = 403, description = "The password is right, and the account cannot be used: `password_expired`, `password_must_change`, `account_disabled`, `account_expired`, `not_at_this_time`, `not_from_here`", body = Value, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Value, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON", body = Value, content_type = "application/problem+json"),
        (status = 429, description = "Too many logins have failed: `too_many_attempts`, with `Retry-After`", body = Value, content_type = "application/problem+json"),
        (status = 503, description = "The directory cannot tell: nothing is known about the password", body = Value, content_type = "application/problem+json")
))]
pub(super) async fn login(
    State(app): State<App>,
    Current(service): Current,
    client: Client,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<LoginAnswer>, ApiError> {
    body::must_be_json(&headers)?;
    let request = LoginRequest::parse(&body)?;
    let is_trusted = match caller::bearer(&headers) {
        Some(_) => caller::identify(&service, &client, &headers).await?.scopes.contains(&Scope::Login),
        None => false,
    };
    let credentials = Credentials {
        name: request.username,
        password: NonEmptyPassword::new(request.password),
        address: (!is_trusted).then_some(client.address),
    };
    let LoggedIn { user, password } = check(&app, &service, credentials).await?;
    Ok(Json(LoginAnswer { user, password: password.into() }))
}

/// Who a token or a session belongs to
///
/// The cookie of the session is verified, else the token; then the user is looked up, and must be enabled.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "login", security(("bearer" = []), ("session" = [])), responses(
    (status = 200, description = "The user", body = UserAnswer),
    (status = 401, description = "No valid token or session", body = Value, content_type = "application/problem+json"),
    (status = 403, description = "The account cannot be used, or the token is not a user's", body = Value, content_type = "application/problem+json"),
    (status = 503, description = "The directory cannot tell", body = Value, content_type = "application/problem+json")
))]
pub(super) async fn me(
    Current(service): Current,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let user = proven(&service, &client, &headers).await?.ok_or_else(ApiError::unauthorized)?;
    Ok(Json(UserAnswer { user }).into_response())
}

/// Checks credentials, and counts the outcome.
///
/// It goes on if the client goes away: the directory counts the wrong password then, and so must the throttle. Else whoever hangs up early
/// could lock the account of another.
async fn check(app: &App, service: &Arc<Service>, credentials: Credentials) -> Result<LoggedIn, ApiError> {
    let (app, service) = (app.clone(), service.clone());
    let checking = observe::spawn(async move {
        let checked =
            service.login.check(&service.config, &service.directory, &service.writer, credentials).await;
        let outcome = match &checked {
            Ok(_) => "accepted",
            Err(error) => match error.status {
                StatusCode::UNAUTHORIZED => "refused",
                StatusCode::FORBIDDEN => "not_usable",
                StatusCode::TOO_MANY_REQUESTS => "throttled",
                _ => "unavailable",
            },
        };
        app.metrics().login(outcome);
        checked
    });
    checking.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// Returns the user of a request by what proves it without a password: the cookie of a session; else a bearer token. `None` if there is
/// neither.
///
/// The session comes first: what else the page sends in `Authorization` may be the application's own, and is not looked at.
///
/// # Errors
/// Neither is valid; or the directory cannot tell.
async fn proven(service: &Service, client: &Client, headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    let of_session = match user_of_session(service, client, headers).await {
        // After an error of the server's, it may be valid.
        Some(Err(error)) if !error.status.is_server_error() => Some(error),
        Some(decided) => return decided.map(Some),
        None => None,
    };
    if caller::bearer(headers).is_some() {
        let of_token = user_of_token(service, client, headers).await;
        return match (of_token, of_session) {
            (Ok(user), _) => Ok(Some(user)),
            // Why the account of the session cannot be used says more than that the token is another's.
            (Err(error), Some(why)) if error.status == StatusCode::UNAUTHORIZED => Err(why),
            (Err(error), _) => Err(error),
        };
    }
    match of_session {
        Some(_) if basic(headers).is_some() => Ok(None),
        Some(error) => Err(error),
        None => Ok(None),
    }
}

/// Returns the user of a bearer token.
async fn user_of_token(service: &Service, client: &Client, headers: &HeaderMap) -> Result<User, ApiError> {
    let caller = caller::identify(service, client, headers).await?;
    caller.user.map(|user| *user).ok_or_else(|| {
        let detail = "the token is a program's, and not a user's";
        ApiError::new(StatusCode::FORBIDDEN, "not_a_user", detail)
    })
}

/// Returns the user of a session: looked up again, enabled, and with the password that the session began with (trap 18). `None` without a
/// session.
async fn user_of_session(
    service: &Service,
    client: &Client,
    headers: &HeaderMap,
) -> Option<Result<User, ApiError>> {
    let session = service.sessions.of(headers, client.site())?;
    Some(match Login::user_of_id(&service.config, &service.directory, &session.id).await {
        Ok(user) if !session.is_of(&user) => Err(ApiError::unauthorized()),
        found => found,
    })
}

/// The credentials of HTTP Basic (RFC 7617): the octets of the password as they are.
struct Basic {
    name: String,
    password: Option<NonEmptyPassword>,
}

/// Returns the credentials of HTTP Basic; `None` for another scheme. What is not well-formed fits nobody.
fn basic(headers: &HeaderMap) -> Option<Basic> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim()).unwrap_or_default();
    let colon = decoded.iter().position(|c| *c == b':');
    let (name, password) = colon.and_then(|at| decoded.split_at_checked(at)).unwrap_or_default();
    Some(Basic {
        // A name that is not UTF-8 fits no entry.
        name: String::from_utf8(name.to_vec()).unwrap_or_default(),
        password: NonEmptyPassword::new(password.get(1..).unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: &str) -> Option<(String, Option<Vec<u8>>)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        basic(&headers).map(|b| (b.name, b.password.map(|p| p.octets().to_vec())))
    }

    #[test]
    fn trap_25_basic_has_the_octets_of_the_password() {
        let encoded = |name: &[u8], password: &[u8]| {
            format!("Basic {}", BASE64.encode([name, b":", password].concat()))
        };
        for password in ["Grüße-東京-€".as_bytes(), b"\xe4\xff", b"a:b:c", b" "] {
            assert_eq!(read(&encoded(b"ada", password)), Some(("ada".into(), Some(password.to_vec()))));
        }
        assert_eq!(read(&encoded(b"ada", b"")), Some(("ada".into(), None)));
        assert_eq!(read(&encoded(b"a\xff", b"x")), Some((String::new(), Some(b"x".to_vec()))));
        assert_eq!(read("basic YTpi"), Some(("a".into(), Some(b"b".to_vec()))));
        for not_well_formed in ["Basic", "Basic ", "Basic %%%", "Basic YWRh"] {
            assert_eq!(read(not_well_formed), Some((String::new(), None)), "{not_well_formed}");
        }
        assert_eq!(read("Bearer abc"), None);
    }

    #[test]
    fn trap_09_a_login_names_no_server() {
        let parse = |text: &str| LoginRequest::parse(&Bytes::copy_from_slice(text.as_bytes()));
        let fails = |text: &str| parse(text).err().map(|error| error.code);
        for name in NOT_OF_A_REQUEST {
            let text = format!(r#"{{"username": "a", "password": "b", "{name}": "x"}}"#);
            assert_eq!(fails(&text), Some("server_is_configured"));
        }
        for text in ["", "[]", "{}", r#"{"username": "a"}"#, r#"{"username": 1, "password": "b"}"#, "\u{0}"] {
            assert_eq!(fails(text), Some("invalid_request"), "{text}");
        }
        assert_eq!(fails(r#"{"username": "a", "username": "c", "password": "b"}"#), Some("invalid_request"));
        let read = parse(r#"{"username": "a", "password": "b", "remember": true}"#).ok().unwrap();
        assert_eq!((read.username.as_str(), read.password.as_str()), ("a", "b"));
    }
}
