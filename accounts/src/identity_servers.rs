//! What this server asks of identity servers, which its users name ([spec]): to bind an address to a
//! user, to let go of it, to say whose an address is, and to keep an invite for whoever has it.
//!
//! [spec]: https://spec.matrix.org/v1.19/identity-service-api/

use std::{future::Future, pin::Pin, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Accounts, StoreError, store::BindingKey, threepids::EMAIL};

const BINDINGS_PER_USER_MAX: usize = 64;
/// Keys that vouch for one invite; further ones are left out of the event.
const KEYS_MAX: usize = 8;
/// What goes into an event.
const TEXT_BYTES_MAX: usize = 512;

/// In whose name an identity server is asked.
#[derive(Clone, Copy, Debug)]
pub enum IdentityAuth<'a> {
    /// A user's, with the token that they have there.
    Token(&'a str),
    /// This server's, which signs the request.
    Signed,
}

#[derive(Clone, Debug)]
pub struct IdentityRequest<'a> {
    pub server: &'a ServerName,
    /// From the root.
    pub path: &'static str,
    pub auth: IdentityAuth<'a>,
    /// JSON, to be posted; without one it is a GET.
    pub body: Option<Bytes>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct IdentityAnswer {
    pub status: u16,
    pub body: Bytes,
}

pub type IdentityFuture<'a> =
    Pin<Box<dyn Future<Output = Result<IdentityAnswer, String>> + Send + 'a>>;

/// The way to identity servers.
pub trait IdentityServers: Send + Sync {
    /// Asks a server that a user named, so the way there is not trusted: its address may be one that
    /// is not connected to. Bounded in time and in size of the answer.
    fn ask<'a>(&'a self, request: IdentityRequest<'a>) -> IdentityFuture<'a>;
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("this server asks no identity servers")]
    NotOffered,
    #[error("{0:?} is not the name of a server")]
    InvalidServer(String),
    #[error("the account has {BINDINGS_PER_USER_MAX} addresses bound already")]
    TooMany,
    /// What the identity server says, for whoever named it.
    #[error("{error}")]
    Refused { status: u16, errcode: String, error: String },
    #[error("the identity server does not answer: {0}")]
    Unreachable(String),
    #[error("the answer of the identity server is not understood: {0}")]
    Malformed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An identity server and what a user may do there.
#[derive(Clone, Copy, Debug)]
pub struct IdentityServer<'a> {
    /// A host, perhaps with a port.
    pub name: &'a str,
    pub access_token: &'a str,
}

/// An invite of somebody who is not known by a user id. The room is described for the mail that the
/// identity server writes.
#[derive(Clone, Debug, Serialize)]
pub struct NewThreepidInvite<'a> {
    pub medium: &'a str,
    pub address: &'a str,
    pub room_id: &'a OwnedRoomId,
    pub sender: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_avatar_url: Option<&'a str>,
    #[serde(flatten)]
    pub room: serde_json::Map<String, Value>,
}

/// What an identity server answers for an invite that it keeps: the state key and the content of
/// `m.room.third_party_invite`.
#[derive(Clone, Debug)]
pub struct KeptInvite {
    pub token: String,
    pub content: Value,
}

fn server_name(name: &str) -> Result<OwnedServerName, IdentityError> {
    ServerName::parse(name).map_err(|_| IdentityError::InvalidServer(name.to_owned()))
}

/// The form in which identity servers compare addresses.
fn folded(medium: &str, address: &str) -> String {
    if medium == EMAIL { address.to_lowercase() } else { address.to_owned() }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, IdentityError> {
    serde_json::from_slice(body).map_err(|error| IdentityError::Malformed(error.to_string()))
}

fn refused(answer: &IdentityAnswer) -> IdentityError {
    #[derive(Default, Deserialize)]
    struct Body {
        errcode: Option<String>,
        error: Option<String>,
    }
    let Body { errcode, error } = serde_json::from_slice(&answer.body).unwrap_or_default();
    IdentityError::Refused {
        status: answer.status,
        errcode: errcode.unwrap_or_else(|| "M_UNKNOWN".to_owned()),
        error: error.unwrap_or_else(|| {
            format!("the identity server answered with status {}", answer.status)
        }),
    }
}

impl Accounts {
    /// Says who knows the way to identity servers. Only the first call counts.
    pub fn set_identity_servers(&self, servers: Arc<dyn IdentityServers>) {
        let _first_counts = self.inner.identity_servers.set(servers);
    }

    async fn ask_identity_server(
        &self,
        request: IdentityRequest<'_>,
    ) -> Result<Bytes, IdentityError> {
        let servers = self.inner.identity_servers.get().ok_or(IdentityError::NotOffered)?;
        let answer = servers.ask(request).await.map_err(IdentityError::Unreachable)?;
        if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(refused(&answer)) }
    }

    /// Binds the address that the user has confirmed there, and remembers it.
    pub async fn bind_threepid(
        &self,
        user_id: &UserId,
        server: IdentityServer<'_>,
        sid: &str,
        client_secret: &str,
    ) -> Result<(), IdentityError> {
        #[derive(Deserialize)]
        struct Bound {
            medium: String,
            address: String,
        }
        let name = server_name(server.name)?;
        if self.inner.store.bindings(user_id).await?.len() >= BINDINGS_PER_USER_MAX {
            return Err(IdentityError::TooMany);
        }
        let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": user_id });
        let request = IdentityRequest {
            server: &name,
            path: "/_matrix/identity/v2/3pid/bind",
            auth: IdentityAuth::Token(server.access_token),
            body: Some(body.to_string().into()),
        };
        let bound: Bound = read(&self.ask_identity_server(request).await?)?;
        if bound.medium.len() + bound.address.len() > TEXT_BYTES_MAX {
            return Err(IdentityError::Malformed("the address is too long".to_owned()));
        }
        let address = folded(&bound.medium, &bound.address);
        let key = (bound.medium, address, name.to_string());
        let store = &self.inner.store;
        Ok(store.put_binding(user_id, &key, self.inner.clock.now_ms()).await?)
    }

    /// Lets go of an address at the server that is named, or wherever it was bound through here.
    /// `false` if that is not known, or an identity server does not do it.
    pub async fn unbind_threepid(
        &self,
        user_id: &UserId,
        server: Option<&str>,
        medium: &str,
        address: &str,
    ) -> Result<bool, IdentityError> {
        let address = folded(medium, address);
        let bindings = match server {
            Some(server) => {
                vec![(medium.to_owned(), address, server_name(server)?.to_string())]
            }
            None => {
                let is_it = |(bound_medium, bound, _): &BindingKey| {
                    bound_medium == medium && *bound == address
                };
                let known = self.inner.store.bindings(user_id).await?;
                known.into_iter().filter(is_it).collect()
            }
        };
        Ok(!bindings.is_empty() && self.unbind(user_id, bindings).await?)
    }

    /// Lets go of everything that was bound through here; `false` if some of it stays.
    pub async fn unbind_all_threepids(&self, user_id: &UserId) -> Result<bool, StoreError> {
        let bindings = self.inner.store.bindings(user_id).await?;
        self.unbind(user_id, bindings).await
    }

    async fn unbind(&self, user_id: &UserId, keys: Vec<BindingKey>) -> Result<bool, StoreError> {
        let mut all = true;
        for key in keys {
            match self.unbind_one(user_id, &key).await {
                Ok(()) => self.inner.store.delete_binding(user_id, &key).await?,
                Err(error) => {
                    tracing::info!(%user_id, server = key.2, %error, "an address stays bound");
                    all = false;
                }
            }
        }
        Ok(all)
    }

    async fn unbind_one(
        &self,
        user_id: &UserId,
        (medium, address, server): &BindingKey,
    ) -> Result<(), IdentityError> {
        let threepid = json!({ "medium": medium, "address": address });
        let body = json!({ "mxid": user_id, "threepid": threepid });
        let request = IdentityRequest {
            server: &server_name(server)?,
            path: "/_matrix/identity/v2/3pid/unbind",
            auth: IdentityAuth::Signed,
            body: Some(body.to_string().into()),
        };
        self.ask_identity_server(request).await.map(drop)
    }

    /// Whose an address is, as the identity server has it. Only a hash of it is sent.
    pub async fn look_up_threepid(
        &self,
        server: IdentityServer<'_>,
        medium: &str,
        address: &str,
    ) -> Result<Option<OwnedUserId>, IdentityError> {
        #[derive(Deserialize)]
        struct HashDetails {
            lookup_pepper: String,
            algorithms: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Found {
            mappings: serde_json::Map<String, Value>,
        }
        let name = server_name(server.name)?;
        let auth = IdentityAuth::Token(server.access_token);
        let path = "/_matrix/identity/v2/hash_details";
        let request = IdentityRequest { server: &name, path, auth, body: None };
        let details: HashDetails = read(&self.ask_identity_server(request).await?)?;
        if !details.algorithms.iter().any(|algorithm| algorithm == "sha256") {
            return Err(IdentityError::Malformed("it does not take hashes".to_owned()));
        }
        let pepper = details.lookup_pepper;
        let hash = Sha256::digest(format!("{} {medium} {pepper}", folded(medium, address)));
        let hash = URL_SAFE_NO_PAD.encode(hash);
        let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
        let path = "/_matrix/identity/v2/lookup";
        let body = Some(body.to_string().into());
        let request = IdentityRequest { server: &name, path, auth, body };
        let found: Found = read(&self.ask_identity_server(request).await?)?;
        let Some(user_id) = found.mappings.get(&hash).and_then(Value::as_str) else {
            return Ok(None);
        };
        let user_id = UserId::parse(user_id);
        user_id.map(Some).map_err(|error| IdentityError::Malformed(error.to_string()))
    }

    /// Leaves an invite for whoever turns out to have an address.
    pub async fn keep_threepid_invite(
        &self,
        server: IdentityServer<'_>,
        invite: &NewThreepidInvite<'_>,
    ) -> Result<KeptInvite, IdentityError> {
        let name = server_name(server.name)?;
        let body = serde_json::to_vec(invite)
            .map_err(|error| IdentityError::Malformed(error.to_string()))?;
        let request = IdentityRequest {
            server: &name,
            path: "/_matrix/identity/v2/store-invite",
            auth: IdentityAuth::Token(server.access_token),
            body: Some(body.into()),
        };
        kept_invite(&name, &self.ask_identity_server(request).await?)
    }
}

/// The event's content is made of what is known in the answer, not of the answer.
fn kept_invite(server: &ServerName, body: &[u8]) -> Result<KeptInvite, IdentityError> {
    #[derive(Deserialize)]
    struct Kept {
        token: String,
        display_name: String,
        public_keys: Vec<Key>,
    }
    #[derive(Deserialize, Serialize)]
    struct Key {
        public_key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_validity_url: Option<String>,
    }
    let mut kept: Kept = read(body)?;
    let malformed = |why: &str| IdentityError::Malformed(why.to_owned());
    kept.public_keys.truncate(KEYS_MAX);
    let key = kept.public_keys.first().ok_or_else(|| malformed("it names no key"))?;
    let is_short = |text: &str| text.len() <= TEXT_BYTES_MAX;
    let are_short = kept.public_keys.iter().all(|key| {
        is_short(&key.public_key) && key.key_validity_url.as_deref().is_none_or(is_short)
    });
    if !are_short || !is_short(&kept.display_name) || kept.token.len() > 255 {
        return Err(malformed("it says too much"));
    }
    if kept.token.is_empty() {
        return Err(malformed("the token is empty"));
    }
    let by_default = || format!("https://{server}/_matrix/identity/v2/pubkey/isvalid");
    let content = json!({
        "display_name": kept.display_name,
        "public_key": key.public_key,
        "key_validity_url": key.key_validity_url.clone().unwrap_or_else(by_default),
        "public_keys": kept.public_keys,
    });
    Ok(KeptInvite { token: kept.token, content })
}
