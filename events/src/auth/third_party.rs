//! Rule 5.4.1: invites that an identity server vouches for.

use base64::Engine as _;
use ruma::UserId;

use super::{AuthState, Membership, Verdict, forbidden, require};
use crate::{
    Pdu, PublicKey,
    canonical::{Object, Value},
    hash::{BASE64, BASE64_URL},
};

pub(crate) fn check_third_party_invite(
    pdu: &Pdu,
    target: &UserId,
    invite: &Value<'_>,
    state: &impl AuthState,
) -> Verdict {
    require(state.membership(target) != Membership::Ban, "the invited user is banned")?;
    let signed = invite
        .as_object()
        .and_then(|invite| invite.get("signed"))
        .and_then(Value::as_object)
        .ok_or_else(|| forbidden("the third-party invite is not signed"))?;
    let field = |key| signed.get(key).and_then(Value::as_str);
    let (Some(mxid), Some(token)) = (field("mxid"), field("token")) else {
        return Err(forbidden("the third-party invite lacks `mxid` or `token`"));
    };
    require(mxid == target.as_str(), "the third-party invite is for another user")?;
    let source = state
        .get("m.room.third_party_invite", token)
        .ok_or_else(|| forbidden("the room has no such third-party invite"))?;
    require(pdu.sender() == source.sender(), "the third-party invite is another sender's")?;
    require(
        is_signed_by_any(signed, &public_keys(&source.content_object())),
        "the third-party invite is signed with none of its keys",
    )
}

/// "A single public key in the `public_key` property. A list of public keys in the `public_keys`
/// property."
fn public_keys(content: &Object<'_>) -> Vec<PublicKey> {
    let listed = content.get("public_keys").and_then(Value::as_array);
    let listed = listed.into_iter().flatten();
    let listed = listed.filter_map(|entry| entry.as_object()?.get("public_key"));
    content.get("public_key").into_iter().chain(listed).filter_map(public_key).collect()
}

/// Identity servers write keys in either alphabet of base64.
fn public_key(value: &Value<'_>) -> Option<PublicKey> {
    let text = value.as_str()?;
    let bytes = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text)).ok()?;
    PublicKey::from_bytes(&bytes).ok()
}

fn is_signed_by_any(signed: &Object<'_>, keys: &[PublicKey]) -> bool {
    let mut message = Vec::new();
    signed.write_without(&["signatures", "unsigned"], &mut message);
    let signatures = signed.get("signatures").and_then(Value::as_object);
    let of_servers = signatures.into_iter().flat_map(Object::iter);
    let of_servers = of_servers.filter_map(|(_, entries)| entries.as_object());
    let mut signatures = of_servers
        .flat_map(Object::iter)
        .filter(|(key_id, _)| key_id.starts_with("ed25519:"))
        .filter_map(|(_, signature)| signature.as_str());
    signatures.any(|signature| keys.iter().any(|key| key.verifies(&message, signature)))
}
