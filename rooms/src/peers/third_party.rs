//! `PUT /exchange_third_party_invite`: whom a local user invited by another identifier turns out to
//! be a user of the server that asks, and an identity server has signed that.
//!
//! The event is made here, of what the room and the identity server say. Of the other server's own
//! words nothing is signed.

use std::collections::BTreeMap;

use events::{Pdu, PublicKey};
use ruma::{RoomId, ServerName, UserId, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};

use crate::{Error, Rooms, Root, content::Content};

/// Keys of one invite that are looked at.
const KEYS_MAX: usize = 16;
/// Signatures that are tried with each of them.
const SIGNATURES_MAX: usize = 16;

/// By server and key id.
type Signatures = BTreeMap<String, BTreeMap<String, String>>;

/// What an identity server says: whoever has the token is this user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedThirdParty {
    pub mxid: String,
    pub token: String,
    /// Who invited; identity servers sign it in `/sign-ed25519`, not in `/onbind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    pub signatures: Signatures,
}

#[derive(Clone, Copy, Debug)]
pub struct ThirdPartyExchange<'a> {
    pub room_id: &'a RoomId,
    /// Who sent the `m.room.third_party_invite`.
    pub sender: &'a UserId,
    /// Whom it turns out to be for.
    pub target: &'a UserId,
    pub signed: &'a SignedThirdParty,
}

/// Where whoever invited must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inviter {
    /// In the room.
    Here,
    /// In the room, or gone of their own accord: the rules of authorisation let the invite stand.
    Left,
}

impl Rooms {
    /// Invites the user. Durable on return. Who is invited already stays so.
    pub async fn peer_exchange_third_party_invite(
        &self,
        server: &ServerName,
        exchange: ThirdPartyExchange<'_>,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        let ThirdPartyExchange { room_id, sender, target, .. } = exchange;
        if target.server_name() != server {
            return Err(Error::Forbidden(format!("{target} is not a user of your server")));
        }
        if !inner.is_local(sender) {
            return Err(Error::Forbidden(format!("{sender} is not a user of this server")));
        }
        let view = inner.open_room(server, room_id).await?;
        match self.third_party_content(view.state, &exchange, Inviter::Here).await? {
            Some(content) => self.invite_remotely(room_id, sender, target, &content).await,
            // The answer was lost, or it is asked again and again.
            None => Ok(inner.store.barrier().wait().await?),
        }
    }

    /// The content of the invite that the room's `m.room.third_party_invite` becomes. `None` if the
    /// user is invited already.
    pub(crate) async fn third_party_content(
        &self,
        state: Root,
        exchange: &ThirdPartyExchange<'_>,
        inviter: Inviter,
    ) -> Result<Option<Content>, Error> {
        let inner = &*self.inner;
        let ThirdPartyExchange { room_id, sender, target, signed } = *exchange;
        let source = self.state_get(state, "m.room.third_party_invite", &signed.token).await?;
        let source = source.ok_or(Error::NotFound("the third-party invite"))?;
        let (content, key) = accepted(&source.pdu, exchange)?;
        let mut writer = inner.member_writer(room_id).await?;
        match inviter {
            Inviter::Here => inner.check_invitable(&mut writer, sender, target).await?,
            Inviter::Left => inner.check_left_invitable(&mut writer, sender, target).await?,
        }
        if writer.draft(inner).membership(target).await? == MembershipState::Invite {
            return Ok(None);
        }
        // What was signed once must not bring back whom the room has sent away since.
        let member = writer.draft(inner).state("m.room.member", target.as_str()).await?;
        let sent_away =
            |member: &Pdu| member.sender() != target && member.depth() >= source.pdu.depth();
        if member.is_some_and(|member| sent_away(&member)) {
            return Err(Error::Forbidden(format!("{target} was sent away since that invite")));
        }
        drop(writer);
        if let Some(url) = &key.key_validity_url
            && !inner.ports.remote.is_key_valid(url, &key.public_key).await
        {
            let reason = "the identity server does not say that its key is still valid";
            return Err(Error::Forbidden(reason.to_owned()));
        }
        Ok(Some(content))
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Key {
    public_key: String,
    key_validity_url: Option<String>,
}

/// The content of the invite, and the key that vouches for it.
fn accepted(source: &Pdu, exchange: &ThirdPartyExchange<'_>) -> Result<(Content, Key), Error> {
    #[derive(Deserialize)]
    struct Source {
        display_name: Option<String>,
    }
    let ThirdPartyExchange { sender, target, signed, .. } = *exchange;
    let forbidden = |reason: &str| Error::Forbidden(reason.to_owned());
    if source.sender() != sender {
        return Err(forbidden("the third-party invite is another user's"));
    }
    if signed.mxid != target.as_str() {
        return Err(forbidden("the third-party invite is for another user"));
    }
    if signed.sender.as_ref().is_some_and(|by| by != sender.as_str()) {
        return Err(forbidden("what is signed is about another user's invite"));
    }
    let found = signing_key(&keys(source), signed);
    let (key, signatures) =
        found.ok_or_else(|| forbidden("it is signed with none of the keys of the invite"))?;
    #[derive(Serialize)]
    struct ThirdParty<'a> {
        display_name: &'a str,
        signed: Signed<'a>,
    }
    #[derive(Serialize)]
    struct Signed<'a> {
        mxid: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<&'a str>,
        signatures: Signatures,
        token: &'a str,
    }
    let name = source.content_as::<Source>().ok().and_then(|source| source.display_name);
    let third_party = ThirdParty {
        display_name: name.as_deref().unwrap_or_default(),
        signed: Signed {
            mxid: &signed.mxid,
            sender: signed.sender.as_deref(),
            signatures,
            token: &signed.token,
        },
    };
    let mut content = Content::new();
    content.set("membership", "invite").set("third_party_invite", third_party);
    Ok((content, key))
}

/// "A single public key in the `public_key` property. A list of public keys in the `public_keys`
/// property." What is no key is passed over.
fn keys(source: &Pdu) -> Vec<Key> {
    #[derive(Deserialize)]
    struct Listed<'a> {
        #[serde(borrow)]
        public_keys: Vec<&'a serde_json::value::RawValue>,
    }
    let listed = source.content_as::<Listed<'_>>().map(|listed| listed.public_keys);
    let listed = listed.unwrap_or_default();
    let listed = listed.iter().filter_map(|key| serde_json::from_str(key.get()).ok());
    source.content_as::<Key>().into_iter().chain(listed).take(KEYS_MAX).collect()
}

/// A key that has signed, and its signature without those that nobody knows anything about.
fn signing_key(keys: &[Key], signed: &SignedThirdParty) -> Option<(Key, Signatures)> {
    let mut message = BTreeMap::from([("mxid", &signed.mxid), ("token", &signed.token)]);
    message.extend(signed.sender.as_ref().map(|sender| ("sender", sender)));
    // Of an object of strings in order serde_json writes the canonical form.
    let message = serde_json::to_vec(&message).ok()?;
    let of_servers = signed.signatures.iter();
    let each = of_servers.flat_map(|(server, by_key)| by_key.iter().map(move |s| (server, s)));
    let each = each.filter(|(_, (key_id, _))| key_id.starts_with("ed25519:"));
    for (server, (key_id, signature)) in each.take(SIGNATURES_MAX) {
        let vouching = keys.iter().find(|key| {
            parsed(&key.public_key).is_some_and(|key| key.verifies(&message, signature))
        });
        if let Some(key) = vouching {
            let by_key = BTreeMap::from([(key_id.clone(), signature.clone())]);
            return Some((key.clone(), BTreeMap::from([(server.clone(), by_key)])));
        }
    }
    None
}

/// Identity servers write keys in either alphabet of base64.
fn parsed(key: &str) -> Option<PublicKey> {
    PublicKey::from_base64(&key.replace('-', "+").replace('_', "/")).ok()
}
