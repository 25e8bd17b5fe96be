//! SASL binds by GSS-API: Kerberos (RFC 4752), and NTLM in GSS-SPNEGO ([MS-ADTS] 5.1.1.1.2).
//!
//! Over `ldap://`, the mechanism seals everything after the bind. Over TLS, the bind is bound to the server's certificate (RFC 5929), so
//! that it cannot be relayed, and nothing is sealed twice: Active Directory refuses that.

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext as _};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_USER_NAME, Oid, OidSet};

use super::sealed::{MOST, Sealed};
use super::{Answer, Connection, LdapResult, message, result_code};
use crate::client::connect::Failure;
use crate::config::{AuthMethod, ServerUrl};
use crate::error::ConnectErrorKind;

/// The mechanism of NTLM: 1.3.6.1.4.1.311.2.2.10 ([MS-NLMP] 1.9).
static NTLM: Oid<'static> = Oid::from_slice(b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a");
/// More steps than any mechanism needs.
const MOST_STEPS: u32 = 20;

/// The security layers of RFC 4752 section 3.3.
const NO_LAYER: u8 = 1;
const CONFIDENTIALITY: u8 = 4;

/// The differences between the two mechanisms.
struct Mechanism {
    /// The name in SASL.
    name: &'static str,
    /// The user, as far as known.
    identity: String,
    /// Advice if the library fails.
    advice: &'static str,
    /// Whether security layers are negotiated after the context is established.
    negotiates_layers: bool,
}

impl Connection {
    pub(crate) async fn sasl_bind(&mut self, auth: &AuthMethod, server: &ServerUrl) -> Result<(), Failure> {
        let mechanism = match auth {
            AuthMethod::Ntlm { user, .. } => Mechanism {
                name: "GSS-SPNEGO",
                identity: user.clone(),
                advice: "is the plugin gss-ntlmssp installed?",
                negotiates_layers: false,
            },
            _ => Mechanism {
                name: "GSSAPI",
                identity: String::new(),
                advice: "is there a ticket (klist, kinit, KRB5_CLIENT_KTNAME), and does the URL have the name that the server has in Kerberos?",
                negotiates_layers: true,
            },
        };
        let is_sealed = self.end_point.is_none() && !matches!(server, ServerUrl::Ldapi(_));
        let context = self.begin(auth, server, is_sealed, mechanism.advice)?;
        let (mut context, answer) = self.establish(context, &mechanism).await?;
        let mut server_takes = 0;
        let answer = if mechanism.negotiates_layers {
            self.agree(&mut context, &mechanism, answer, is_sealed, &mut server_takes).await?
        } else {
            answer
        };
        if answer.code != result_code::SUCCESS {
            return Err(Failure::of_bind(&self.url, mechanism.name, &mechanism.identity, answer));
        }
        if is_sealed {
            let clear = std::mem::replace(&mut self.stream, Box::new(tokio::io::duplex(1).0));
            self.stream = Box::new(Sealed::new(clear, context, server_takes));
        }
        Ok(())
    }

    /// Returns the context before its first step.
    fn begin(
        &self,
        auth: &AuthMethod,
        server: &ServerUrl,
        is_sealed: bool,
        advice: &str,
    ) -> Result<ClientCtx, Failure> {
        let refused = |e: Error| Failure::lasting(ConnectErrorKind::Bind, &self.url, explain(e, advice));
        let host = match server {
            ServerUrl::Ldap { host, .. } => host.as_str(),
            ServerUrl::Ldapi(_) | ServerUrl::Ldif(_) => "localhost",
        };
        let name = format!("ldap@{host}");
        let target = Name::new(name.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)).map_err(refused)?;
        let (cred, mechanism) = match auth {
            AuthMethod::Ntlm { user, password } => {
                let user = Name::new(user.as_bytes(), Some(GSS_NT_USER_NAME)).map_err(refused)?;
                let mut mechanisms = OidSet::new();
                mechanisms.add(NTLM).map_err(refused)?;
                let (usage, password) = (CredUsage::Initiate, password.reveal());
                let cred = Cred::acquire_with_password(Some(&user), password, None, usage, Some(&mechanisms))
                    .map_err(refused)?;
                (Some(cred), NTLM)
            }
            _ => (None, GSS_MECH_KRB5),
        };
        let mut flags = CtxFlags::GSS_C_MUTUAL_FLAG;
        if is_sealed {
            flags |= CtxFlags::GSS_C_REPLAY_FLAG
                | CtxFlags::GSS_C_SEQUENCE_FLAG
                | CtxFlags::GSS_C_INTEG_FLAG
                | CtxFlags::GSS_C_CONF_FLAG;
        }
        Ok(ClientCtx::new(cred, target, flags, Some(mechanism)))
    }

    /// Exchanges tokens until the context is established. Returns the server's last answer.
    async fn establish(
        &mut self,
        mut context: ClientCtx,
        mechanism: &Mechanism,
    ) -> Result<(ClientCtx, LdapResult), Failure> {
        let mut last: Option<LdapResult> = None;
        for _ in 0..MOST_STEPS {
            let token = last.as_ref().map(|answer| answer.sasl.clone().unwrap_or_default());
            let binding = self.end_point.clone();
            // The library may contact the KDC, and block.
            let stepped = tokio::task::spawn_blocking(move || {
                let stepped = context.step(token.as_deref(), binding.as_deref());
                (context, stepped.map(|token| token.map(|t| t.to_vec())))
            });
            let stepped = stepped
                .await
                .map_err(|e| Failure::lasting(ConnectErrorKind::Bind, &self.url, e.to_string()))?;
            context = stepped.0;
            let stepped = stepped.1.map_err(|e| {
                Failure::lasting(ConnectErrorKind::Bind, &self.url, explain(e, mechanism.advice))
            })?;
            let token = match (stepped, &last) {
                (Some(token), _) => token,
                // The context is established on both sides.
                (None, Some(answer)) if answer.code == result_code::SUCCESS => {
                    return Ok((context, answer.clone()));
                }
                (None, _) => Vec::new(),
            };
            let is_complete = token.is_empty();
            let answer = self.step(mechanism, &token).await?;
            let goes_on = answer.code == result_code::SASL_BIND_IN_PROGRESS;
            if !goes_on && answer.code != result_code::SUCCESS || is_complete {
                return Ok((context, answer));
            }
            if answer.code == result_code::SUCCESS && answer.sasl.is_none() {
                return Ok((context, answer));
            }
            last = Some(answer);
        }
        Err(Failure::lasting(
            ConnectErrorKind::Bind,
            &self.url,
            format!("the {} bind comes to no end", mechanism.name),
        ))
    }

    async fn step(&mut self, mechanism: &Mechanism, token: &[u8]) -> Result<LdapResult, Failure> {
        let answer = self.greet(&message::sasl_bind(mechanism.name, token)).await?;
        if let Answer::Bind(result) = answer {
            return Ok(result);
        }
        let reason = "the server answered the bind with something else";
        Err(Failure::lasting(ConnectErrorKind::Bind, &self.url, reason.into()))
    }

    /// Negotiates a security layer (RFC 4752 section 3.1). Sets `server_takes` to the maximum size of a sealed buffer that the server
    /// accepts.
    async fn agree(
        &mut self,
        context: &mut ClientCtx,
        mechanism: &Mechanism,
        answer: LdapResult,
        is_sealed: bool,
        server_takes: &mut usize,
    ) -> Result<LdapResult, Failure> {
        if answer.code != result_code::SASL_BIND_IN_PROGRESS {
            return Ok(answer);
        }
        let malformed = || {
            Failure::lasting(
                ConnectErrorKind::Bind,
                &self.url,
                "the server's security layers are none of RFC 4752".into(),
            )
        };
        let offered = context
            .unwrap(answer.sasl.as_deref().unwrap_or_default())
            .map_err(|e| Failure::lasting(ConnectErrorKind::Bind, &self.url, explain(e, "")))?;
        let layers = match &*offered {
            [layers, a, b, c] => {
                *server_takes = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
                *layers
            }
            _ => return Err(malformed()),
        };
        let wanted = if is_sealed { CONFIDENTIALITY } else { NO_LAYER };
        if layers & wanted == 0 {
            let reason = if is_sealed {
                "the server does not encrypt by GSSAPI: use ldaps:// or StartTLS"
            } else {
                "the server wants GSSAPI's own encryption, also over TLS: use ldap:// without StartTLS"
            };
            return Err(Failure::lasting(ConnectErrorKind::Bind, &self.url, reason.into()));
        }
        let size = if is_sealed { u32::try_from(MOST).unwrap_or_default() } else { 0 };
        let [_, a, b, c] = size.to_be_bytes();
        let chosen = context.wrap(false, &[wanted, a, b, c]);
        let chosen =
            chosen.map_err(|e| Failure::lasting(ConnectErrorKind::Bind, &self.url, explain(e, "")))?;
        self.step(mechanism, &chosen).await
    }
}

/// Returns the library's error, with advice.
fn explain(error: Error, advice: &str) -> String {
    let text = error.to_string();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if advice.is_empty() { format!("GSS-API: {text}") } else { format!("GSS-API: {text}; {advice}") }
}
