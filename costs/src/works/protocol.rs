//! Works without a server: events and frames.

use std::{collections::HashMap, hint::black_box, path::Path, sync::Arc};

use anyhow::ensure;
use events::{
    EventTemplate, Pdu, RoomVersion, SigningKey, StateMap, auth_events_for, check_auth,
    sign_and_build, verify_content_hash, verify_signatures,
};
use frames::codec::{Decoder, Message, Opcode, encode};
use ruma::{OwnedEventId, OwnedRoomId, UserId, server_name};
use serde_json::{Value, json, value::to_raw_value};

use crate::measured::costs_measured;

const ALICE: &str = "@alice:a.test";

/// A room of the newest version, by one server.
struct Room {
    version: &'static RoomVersion,
    key: SigningKey,
    room_id: Option<OwnedRoomId>,
    events: HashMap<OwnedEventId, Arc<Pdu>>,
    state: StateMap,
}

impl Room {
    fn new() -> anyhow::Result<Self> {
        let mut room = Self {
            version: RoomVersion::default_version(),
            key: SigningKey::from_seed(&[1; 32], "1")?,
            room_id: None,
            events: HashMap::new(),
            state: StateMap::new(),
        };
        let create = room.state("m.room.create", "", &json!({ "room_version": "12" }))?;
        room.room_id = Some(create.room_id().to_owned());
        room.state("m.room.member", ALICE, &json!({ "membership": "join" }))?;
        room.state("m.room.power_levels", "", &json!({ "users": {} }))?;
        room.state("m.room.join_rules", "", &json!({ "join_rule": "public" }))?;
        Ok(room)
    }

    fn build(&self, event_type: &str, key: Option<&str>, content: &Value) -> anyhow::Result<Pdu> {
        let content = to_raw_value(content)?;
        let sender = UserId::parse(ALICE)?;
        let auth = auth_events_for(self.version, event_type, &sender, key, &content)?;
        let auth: Vec<_> = auth.iter().filter_map(|key| self.state.get(key).cloned()).collect();
        let template = EventTemplate {
            room_id: self.room_id.as_deref(),
            sender: &sender,
            event_type,
            state_key: key,
            content: &content,
            prev_events: &[],
            auth_events: &auth,
            depth: 1,
            origin_server_ts: 1_700_000_000_000,
            redacts: None,
        };
        Ok(sign_and_build(&template, &self.key, server_name!("a.test"), self.version)?)
    }

    fn state(&mut self, event_type: &str, key: &str, content: &Value) -> anyhow::Result<Arc<Pdu>> {
        let event = Arc::new(self.build(event_type, Some(key), content)?);
        self.events.insert(event.event_id().clone(), event.clone());
        self.state.insert((event_type.to_owned(), key.to_owned()), event.event_id().clone());
        Ok(event)
    }

    fn message(&self) -> anyhow::Result<Pdu> {
        let body =
            "Lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam nonumy eirmod.";
        self.build("m.room.message", None, &json!({ "body": body, "msgtype": "m.text" }))
    }

    fn allows(&self, event: &Pdu) -> bool {
        let found = |event_type: &str, key: &str| {
            self.events.get(self.state.get(&(event_type.to_owned(), key.to_owned()))?).cloned()
        };
        check_auth(self.version, event, found).is_ok()
    }
}

/// As it arrives from another server: JSON to the event, its hash and its signature.
pub(super) fn parse_and_verify(times: u64, _: Option<&Path>) -> anyhow::Result<()> {
    let room = Room::new()?;
    let json = room.message()?.json().clone();
    let key = room.key.public_key();
    let verified = || {
        let Ok(event) = Pdu::from_json(black_box(json.clone()), room.version) else { return false };
        verify_content_hash(&event)
            && verify_signatures(&event, room.version, |_, _| Some(key)).is_ok()
    };
    ensure!(verified(), "the event is not whole");
    costs_measured(&mut || {
        for _ in 0..times {
            black_box(verified());
        }
    });
    Ok(())
}

pub(super) fn authorise(times: u64, _: Option<&Path>) -> anyhow::Result<()> {
    let room = Room::new()?;
    let event = room.message()?;
    ensure!(room.allows(&event), "the message is not allowed");
    costs_measured(&mut || {
        for _ in 0..times {
            black_box(room.allows(black_box(&event)));
        }
    });
    Ok(())
}

/// A client's frame of 200 bytes is read, and a batch of 1000 bytes written.
pub(super) fn frames(times: u64, _: Option<&Path>) -> anyhow::Result<()> {
    let text = vec![b'x'; 200];
    let frame = client_frame(&text);
    let batch = vec![b'y'; 1000];
    let mut decoder = Decoder::new(1 << 16);
    let mut out = Vec::with_capacity(2048);
    let mut exchange = || {
        decoder.feed(black_box(&frame));
        let message = decoder.message();
        out.clear();
        encode(Opcode::Text, black_box(&batch), &mut out);
        matches!(message, Ok(Some(Message::Text(text))) if text.len() == 200) && out.len() > 1000
    };
    ensure!(exchange(), "the frame is not understood");
    costs_measured(&mut || {
        for _ in 0..times {
            black_box(exchange());
        }
    });
    Ok(())
}

/// A text in one frame, masked as a client's are.
pub(crate) fn client_frame(text: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(short @ ..126) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
