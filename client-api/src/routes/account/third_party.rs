//! `/account/3pid`: email addresses of an account, and what is bound at identity servers ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information

use accounts::{Accounts, AddThreepidError, IdentityError, IdentityServer, Session, Stage};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::{Empty, RawJson},
    uia::{self, Challenge},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let mut router = Router::new();
    // Clients of before r0.6 know the newer ones under `unstable`.
    for version in ["r0", "v3", "unstable"] {
        let base = format!("/_matrix/client/{version}/account/3pid");
        router = router
            .route(&base, get(get_threepids).post(add_or_bind))
            .route(&format!("{base}/add"), post(add))
            .route(&format!("{base}/bind"), post(bind))
            .route(&format!("{base}/delete"), post(delete))
            .route(&format!("{base}/unbind"), post(unbind));
    }
    router
}

async fn get_threepids(
    State(accounts): State<Accounts>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let threepids = accounts.threepids(&session.user_id).await?;
    let threepids: Vec<_> = threepids
        .iter()
        .map(|threepid| {
            json!({
                "medium": threepid.medium,
                "address": threepid.address,
                "validated_at": threepid.validated_at,
                "added_at": threepid.added_at,
            })
        })
        .collect();
    Ok(RawJson(json!({ "threepids": threepids }).to_string().into()))
}

/// A session in which an address was confirmed, here or at an identity server.
#[derive(Deserialize)]
struct Creds {
    sid: String,
    client_secret: String,
    id_server: Option<String>,
    id_access_token: Option<String>,
}

impl Creds {
    fn identity_server(&self) -> Option<IdentityServer<'_>> {
        let name = self.id_server.as_deref()?;
        Some(IdentityServer { name, access_token: self.id_access_token.as_deref()? })
    }
}

fn may_add(gate: &Gate, accounts: &Accounts, session: &Session) -> Result<(), Error> {
    gate.may_act(session)?;
    if accounts.sends_mail() {
        Ok(())
    } else {
        Err(Error::forbidden("Third-party identifiers cannot be changed on this server"))
    }
}

/// Deprecated, and "an equivalent to `/3pid/bind`"; but whoever uses it still has confirmed the
/// address here more often than not, and means to add it.
async fn add_or_bind(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "threePidCreds")]
        three_pid_creds: Creds,
    }
    gate.may_act(&session)?;
    let Body { three_pid_creds: creds } = json(&body)?;
    let added = accounts.add_threepid(&session.user_id, &creds.sid, &creds.client_secret).await;
    match (added, creds.identity_server()) {
        (Err(AddThreepidError::NotValidated), Some(server)) => {
            let Creds { sid, client_secret, .. } = &creds;
            accounts.bind_threepid(&session.user_id, server, sid, client_secret).await?;
        }
        (added, _) => added?,
    }
    Ok(Empty)
}

async fn add(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    AuthedRaw { session, parts, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        sid: String,
        client_secret: String,
        auth: Option<Box<RawValue>>,
    }
    may_add(&gate, &accounts, &session)?;
    let body: Body = json(&body)?;
    let challenge = Challenge {
        method: &parts.method,
        path: parts.uri.path(),
        session: Some(&session),
        target: &body.sid,
        flows: &[&[Stage::Password]],
        auth: body.auth.as_deref(),
    };
    uia::require(&accounts, challenge).await?;
    accounts.add_threepid(&session.user_id, &body.sid, &body.client_secret).await?;
    Ok(Empty)
}

async fn bind(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    gate.may_act(&session)?;
    let creds: Creds = json(&body)?;
    let server = creds.identity_server().ok_or_else(|| {
        Error::missing_param("An address is bound with `id_server` and `id_access_token`")
    })?;
    let Creds { sid, client_secret, .. } = &creds;
    accounts.bind_threepid(&session.user_id, server, sid, client_secret).await?;
    Ok(Empty)
}

#[derive(Deserialize)]
struct Which {
    medium: String,
    address: String,
    id_server: Option<String>,
}

async fn delete(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    gate.may_act(&session)?;
    let which: Which = json(&body)?;
    accounts.delete_threepid(&session.user_id, &which.medium, &which.address).await?;
    let_go(&accounts, &session, &which).await
}

async fn unbind(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    gate.may_act(&session)?;
    let_go(&accounts, &session, &json(&body)?).await
}

async fn let_go(accounts: &Accounts, session: &Session, which: &Which) -> Result<RawJson, Error> {
    let Which { medium, address, id_server } = which;
    let server = id_server.as_deref();
    let unbound = match accounts.unbind_threepid(&session.user_id, server, medium, address).await {
        Err(IdentityError::NotOffered) => false,
        unbound => unbound?,
    };
    Ok(unbind_result(unbound))
}

pub(super) fn unbind_result(unbound: bool) -> RawJson {
    let result = if unbound { "success" } else { "no-support" };
    RawJson(json!({ "id_server_unbind_result": result }).to_string().into())
}

impl From<AddThreepidError> for Error {
    fn from(error: AddThreepidError) -> Self {
        let text = error.to_string();
        match error {
            AddThreepidError::NotValidated => {
                Self::new(StatusCode::FORBIDDEN, "M_THREEPID_AUTH_FAILED", text)
            }
            AddThreepidError::InUse => {
                Self::new(StatusCode::BAD_REQUEST, "M_THREEPID_IN_USE", text)
            }
            AddThreepidError::TooMany => {
                Self::new(StatusCode::FORBIDDEN, "M_THREEPID_DENIED", text)
            }
            AddThreepidError::Store(error) => error.into(),
        }
    }
}

/// "Homeservers should simply proxy any errors received by the identity server to the caller."
impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Self {
        let text = error.to_string();
        let bad = |errcode| Self::new(StatusCode::BAD_REQUEST, errcode, text.clone());
        match error {
            IdentityError::NotOffered => bad("M_SERVER_NOT_TRUSTED"),
            IdentityError::InvalidServer(_) => bad("M_INVALID_PARAM"),
            IdentityError::TooMany => Self::new(StatusCode::FORBIDDEN, "M_THREEPID_DENIED", text),
            // The token that is wrong is the one for over there: the client need not log in here.
            IdentityError::Refused { status: 401, .. } => Self::forbidden(text),
            IdentityError::Refused { status, errcode, error } if (400..500).contains(&status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                Self::new(status, errcode, error)
            }
            IdentityError::Refused { .. }
            | IdentityError::Unreachable(_)
            | IdentityError::Malformed(_) => Self::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", text),
            IdentityError::Store(error) => error.into(),
        }
    }
}
