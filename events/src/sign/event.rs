//! Signatures on events: whose are needed, and how they are made and checked.

use bytes::Bytes;
use ruma::{OwnedServerName, ServerName, UserId};

use super::{
    PublicKey, SignatureError, SigningKey, UNSIGNED_FIELDS, claim::Claim, policy::POLICY_KEY_ID,
};
use crate::{
    BuildError, Pdu, RoomVersion,
    canonical::{Object, Value},
    redact::write_redacted,
};

/// Signatures of one server on one event whose keys are asked for; more are a waste of everybody's
/// time.
const MAX_KEYS_PER_SERVER: usize = 8;

/// The servers that must have signed an event.
pub fn required_servers(pdu: &Pdu, version: &RoomVersion) -> Vec<OwnedServerName> {
    let mut servers = Vec::with_capacity(1);
    let content = pdu.content_object();
    let is_member = pdu.event_type() == "m.room.member";
    let has = |key| is_member && content.get(key).is_some();
    let membership = content.get("membership").and_then(Value::as_str);
    // An invite that came about through a third party is not made by the inviter's server.
    if !(membership == Some("invite") && has("third_party_invite")) {
        servers.push(pdu.sender().server_name().to_owned());
    }
    if version.event_id_in_pdu()
        && let Some(server_name) = pdu.event_id().server_name()
    {
        servers.push(server_name.to_owned());
    }
    // A value that is no user id has no server that could sign; the authorisation rules refuse it.
    if version.restricted_joins()
        && has("join_authorised_via_users_server")
        && let Some(user) = content.get("join_authorised_via_users_server")
        && let Some(user) = user.as_str().and_then(|user| <&UserId>::try_from(user).ok())
    {
        servers.push(user.server_name().to_owned());
    }
    servers.sort();
    servers.dedup();
    servers
}

/// The servers and key ids of the signatures that [`verify_signatures`] will look at. The key of a
/// policy server is not among them: it is "not expected to be published".
pub fn required_keys(pdu: &Pdu, version: &RoomVersion) -> Vec<(OwnedServerName, String)> {
    let event = pdu.to_object();
    let mut keys = Vec::with_capacity(1);
    for server_name in required_servers(pdu, version) {
        let ids = key_ids(&event, &server_name).map(str::to_owned);
        keys.extend(ids.map(|key_id| (server_name.clone(), key_id)));
    }
    keys
}

/// The key ids of the signatures that [`verify_signature_of`] will look at.
pub fn signature_keys(pdu: &Pdu, server_name: &ServerName) -> Vec<String> {
    key_ids(&pdu.to_object(), server_name).map(str::to_owned).collect()
}

fn key_ids<'e>(event: &'e Object<'_>, server_name: &ServerName) -> impl Iterator<Item = &'e str> {
    let entries = signatures_of(event, server_name.as_str());
    let ids = entries.into_iter().flat_map(Object::iter).map(|(key_id, _)| key_id);
    ids.filter(|key_id| key_id.starts_with("ed25519:") && *key_id != POLICY_KEY_ID)
        .take(MAX_KEYS_PER_SERVER)
}

/// Checks the signatures of all servers that must have signed the event. `keys` answers with the
/// key of a server and key id, if it is to be trusted at the event's `origin_server_ts` (which
/// matters where the version [enforces](RoomVersion::enforces_key_validity) it).
pub fn verify_signatures(
    pdu: &Pdu,
    version: &RoomVersion,
    keys: impl Fn(&ServerName, &str) -> Option<PublicKey>,
) -> Result<(), SignatureError> {
    let claims = Claims::read(pdu, version, keys)?;
    claims.check_each()
}

/// Checks the signature of one server, whether or not it must have signed the event: the server of
/// an invited user, or one that hands in an invite which came about through a third party.
pub fn verify_signature_of(
    pdu: &Pdu,
    version: &RoomVersion,
    server_name: &ServerName,
    keys: impl Fn(&str) -> Option<PublicKey>,
) -> Result<(), SignatureError> {
    let event = pdu.to_object();
    let claims = Claims::of_server(&event, server_name, keys)?;
    let message = message_to_sign(&event, version);
    claims.iter().try_for_each(|claim| claim.check(&message))
}

/// Everything that has to be verified of an event.
pub(super) struct Claims {
    pub(super) message: Vec<u8>,
    pub(super) claims: Vec<Claim>,
}

impl Claims {
    pub(super) fn read(
        pdu: &Pdu,
        version: &RoomVersion,
        keys: impl Fn(&ServerName, &str) -> Option<PublicKey>,
    ) -> Result<Self, SignatureError> {
        let event = pdu.to_object();
        let mut claims = Vec::with_capacity(1);
        for server_name in required_servers(pdu, version) {
            let keys = |key_id: &str| keys(&server_name, key_id);
            claims.extend(Self::of_server(&event, &server_name, keys)?);
        }
        Ok(Self { message: message_to_sign(&event, version), claims })
    }

    fn of_server(
        event: &Object<'_>,
        server_name: &ServerName,
        keys: impl Fn(&str) -> Option<PublicKey>,
    ) -> Result<Vec<Claim>, SignatureError> {
        let entries = signatures_of(event, server_name.as_str())
            .ok_or_else(|| SignatureError::Unsigned(server_name.to_owned()))?;
        let entries = entries
            .iter()
            .map(|(key_id, signature)| (key_id, signature.as_str().unwrap_or_default()));
        Claim::of_server(server_name, entries, keys)
    }

    pub(super) fn check_each(&self) -> Result<(), SignatureError> {
        self.claims.iter().try_for_each(|claim| claim.check(&self.message))
    }
}

pub(super) fn signatures_of<'e, 'a>(event: &'e Object<'a>, server: &str) -> Option<&'e Object<'a>> {
    event.get("signatures")?.as_object()?.get(server)?.as_object()
}

/// The same event with one more server's signature.
pub fn add_signature(
    pdu: &Pdu,
    key: &SigningKey,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Result<Pdu, BuildError> {
    let bytes = sign_event(&pdu.to_object(), key, server_name, version);
    Ok(Pdu::from_json(Bytes::from(bytes), version)?)
}

pub(super) fn message_to_sign(event: &Object<'_>, version: &RoomVersion) -> Vec<u8> {
    let mut message = Vec::with_capacity(1024);
    write_redacted(event, version, UNSIGNED_FIELDS, &mut message);
    message
}

/// The event with our signature added, as canonical JSON.
pub(crate) fn sign_event(
    event: &Object<'_>,
    key: &SigningKey,
    server_name: &ServerName,
    version: &RoomVersion,
) -> Vec<u8> {
    let signature = key.sign(&message_to_sign(event, version));
    with_signature(event, server_name, key.key_id(), &signature)
}

/// The event with a signature added, as canonical JSON.
pub(super) fn with_signature(
    event: &Object<'_>,
    server_name: &ServerName,
    key_id: &str,
    signature: &str,
) -> Vec<u8> {
    let mut signatures =
        event.get("signatures").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut of_server = signatures_of(event, server_name.as_str()).cloned().unwrap_or_default();
    of_server.insert(key_id, Value::string(signature));
    signatures.insert(server_name.as_str(), Value::Object(of_server));
    let mut event = event.clone();
    event.insert("signatures", Value::Object(signatures));
    let mut bytes = Vec::with_capacity(1024);
    event.write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use ruma::server_name;

    use super::sign_event;
    use crate::{
        RoomVersion, SigningKey,
        canonical::{MAX_LEVELS, Numbers, Value, parse_within},
        hash::{BASE64, content_hash},
    };

    /// The specification's vector for an event with redactable content, which lacks fields that a
    /// PDU must have and so is not one.
    #[test]
    fn specified_signature_of_an_event_with_content() {
        let seed = BASE64.decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap(), "1").unwrap();
        let text = r#"{"content":{"body":"Here is the message content"},"event_id":"$0:domain",
            "origin":"domain","origin_server_ts":1000000,"type":"m.room.message",
            "room_id":"!r:domain","sender":"@u:domain","signatures":{},
            "unsigned":{"age_ts":1000000}}"#;
        let mut event =
            parse_within(text, Numbers::Strict, MAX_LEVELS).unwrap().into_object().unwrap();
        let hash = BASE64.encode(content_hash(&event));
        assert_eq!(hash, "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g");
        let hashes = format!(r#"{{"sha256":"{hash}"}}"#);
        event.insert("hashes", parse_within(&hashes, Numbers::Strict, 1).unwrap());

        let version = RoomVersion::parse("1").unwrap();
        let signed = sign_event(&event, &key, server_name!("domain"), version);
        let signed = parse_within(str::from_utf8(&signed).unwrap(), Numbers::Strict, MAX_LEVELS);
        let signed = signed.unwrap().into_object().unwrap();
        let signature = signed
            .get("signatures")
            .and_then(|all| all.as_object()?.get("domain")?.as_object()?.get("ed25519:1"))
            .and_then(Value::as_str);
        assert_eq!(
            signature,
            Some(
                "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVP\
                 dhzBA"
            )
        );
    }
}
