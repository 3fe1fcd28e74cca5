//! Reading a request: JSON of either dialect into the one model, and the bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{OwnedRoomId, UserId};
use serde::Deserialize;
use serde_json::Number;

use super::{
    Dialect, SlidingBody, SlidingUpdate,
    filters::Filters,
    request::{Extensions, List, Profiles, Reach, RoomConfig, ToDevice},
    required::{Element, MEMBER, Part, Required},
};

/// "Max lists: 100." "Max subscriptions: 100."
const LISTS_MAX: usize = 100;
/// Of one list. The windows of one list are few: clients send one.
const RANGES_MAX: usize = 20;
/// Entries of one list of strings or rules.
const ENTRIES_MAX: usize = 1000;
/// Bytes of a connection's or a list's name.
const NAME_BYTES_MAX: usize = 255;
/// "The server may cap this number."
const TIMELINE_LIMIT_MAX: u64 = 100;
const TO_DEVICE_LIMIT: u64 = 100;
const THREADS_LIMIT: u64 = 100;

/// A request that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SlidingBodyError {
    #[error("the request does not have the expected form: {0}")]
    Json(#[from] serde_json::Error),
    /// The form is right and a value is not.
    #[error("{0}")]
    Invalid(String),
}

use SlidingBodyError::Invalid;

#[derive(Deserialize)]
struct Body<L, R> {
    conn_id: Option<String>,
    pos: Option<String>,
    timeout: Option<Number>,
    set_presence: Option<String>,
    #[serde(default = "none")]
    lists: Option<BTreeMap<String, L>>,
    #[serde(default = "none")]
    room_subscriptions: Option<BTreeMap<String, R>>,
    extensions: Option<JsonExtensions>,
}

fn none<T>() -> Option<T> {
    None
}

type Range = (Number, Number);

#[derive(Deserialize)]
struct UnstableList {
    ranges: Option<Vec<Range>>,
    timeline_limit: Number,
    #[serde(default)]
    required_state: Vec<(String, String)>,
    filters: Option<Filters>,
}

#[derive(Deserialize)]
struct UnstableRoom {
    timeline_limit: Number,
    #[serde(default)]
    required_state: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct StableList {
    range: Option<Range>,
    timeline_limit: Number,
    required_state: StableRequired,
    filters: Option<Filters>,
}

#[derive(Deserialize)]
struct StableRoom {
    timeline_limit: Number,
    required_state: StableRequired,
}

#[derive(Deserialize)]
struct StableRequired {
    #[serde(default)]
    include: Vec<StableElement>,
    #[serde(default)]
    exclude: Vec<StableElement>,
    #[serde(default)]
    lazy_members: bool,
}

#[derive(Deserialize)]
struct StableElement {
    #[serde(rename = "type")]
    event_type: Option<String>,
    state_key: Option<String>,
}

#[derive(Default, Deserialize)]
struct JsonExtensions {
    to_device: Option<JsonToDevice>,
    e2ee: Option<Enabled>,
    account_data: Option<JsonReach>,
    receipts: Option<JsonReach>,
    typing: Option<JsonReach>,
    #[serde(rename = "org.matrix.msc4508.typing")]
    msc4508_typing: Option<JsonReach>,
    presence: Option<Enabled>,
    #[serde(rename = "im.meridian.presence")]
    own_presence: Option<Enabled>,
    profiles: Option<JsonProfiles>,
    #[serde(rename = "org.matrix.msc4262.profiles")]
    msc4262_profiles: Option<JsonProfiles>,
    #[serde(rename = "io.element.msc4308.thread_subscriptions")]
    thread_subscriptions: Option<Limited>,
}

#[derive(Deserialize)]
struct Enabled {
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Limited {
    enabled: Option<bool>,
    limit: Option<Number>,
}

#[derive(Deserialize)]
struct JsonToDevice {
    enabled: Option<bool>,
    since: Option<String>,
    limit: Option<Number>,
}

#[derive(Deserialize)]
struct JsonProfiles {
    fields: Option<BTreeSet<String>>,
    #[serde(flatten)]
    reach: JsonReach,
}

#[derive(Deserialize)]
struct JsonReach {
    enabled: Option<bool>,
    lists: Option<BTreeSet<String>>,
    rooms: Option<BTreeSet<String>>,
}

impl SlidingBody {
    /// `user` is who asks: what they are told of themselves is asked for by a word.
    pub fn parse(dialect: Dialect, user: &UserId, json: &[u8]) -> Result<Self, SlidingBodyError> {
        let json = if json.iter().all(u8::is_ascii_whitespace) { b"{}" } else { json };
        let (mut body, update) = read_as(dialect, user, json)?;
        body.update(update);
        Ok(body)
    }
}

impl SlidingUpdate {
    /// What the JSON does not have is not replaced.
    pub fn parse(dialect: Dialect, user: &UserId, json: &[u8]) -> Result<Self, SlidingBodyError> {
        Ok(read_as(dialect, user, json)?.1)
    }
}

/// A request that asks for nothing yet, and what it asks for.
type Parsed = (SlidingBody, SlidingUpdate);

fn read_as(dialect: Dialect, user: &UserId, json: &[u8]) -> Result<Parsed, SlidingBodyError> {
    match dialect {
        Dialect::Unstable => {
            let body: Body<UnstableList, UnstableRoom> = serde_json::from_slice(json)?;
            let list = |list: UnstableList| {
                let config = config(&list.timeline_limit, unstable(list.required_state, user))?;
                make_list(list.ranges, list.filters, config)
            };
            let room = |room: UnstableRoom| {
                config(&room.timeline_limit, unstable(room.required_state, user))
            };
            read(dialect, body, list, room)
        }
        Dialect::Stable => {
            let body: Body<StableList, StableRoom> = serde_json::from_slice(json)?;
            let list = |list: StableList| {
                let config = config(&list.timeline_limit, stable(list.required_state))?;
                make_list(list.range.map(|range| vec![range]), list.filters, config)
            };
            let room = |room: StableRoom| config(&room.timeline_limit, stable(room.required_state));
            read(dialect, body, list, room)
        }
    }
}

fn read<L, R>(
    dialect: Dialect,
    body: Body<L, R>,
    list: impl Fn(L) -> Result<List, SlidingBodyError>,
    room: impl Fn(R) -> Result<RoomConfig, SlidingBodyError>,
) -> Result<Parsed, SlidingBodyError> {
    let conn_id = body.conn_id.unwrap_or_default();
    check_name(&conn_id)?;
    let update = SlidingUpdate {
        lists: body.lists.map(|lists| read_lists(lists, list)).transpose()?,
        subscriptions: body
            .room_subscriptions
            .map(|rooms| subscriptions(rooms, room))
            .transpose()?,
        extensions: body.extensions.map(extensions).transpose()?,
    };
    let body = SlidingBody {
        pos: body.pos,
        timeout_ms: body.timeout.map(|timeout| number(&timeout, "timeout")).transpose()?,
        set_presence: body.set_presence,
        dialect,
        conn_id,
        lists: BTreeMap::new(),
        subscriptions: BTreeMap::new(),
        extensions: Extensions::default(),
    };
    Ok((body, update))
}

fn check_name(name: &str) -> Result<(), SlidingBodyError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Invalid(format!("A name is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), SlidingBodyError> {
    if count > LISTS_MAX {
        return Err(Invalid(format!("There are more than {LISTS_MAX} lists or subscriptions")));
    }
    Ok(())
}

fn read_lists<L>(
    lists: BTreeMap<String, L>,
    list: impl Fn(L) -> Result<List, SlidingBodyError>,
) -> Result<BTreeMap<String, List>, SlidingBodyError> {
    check_count(lists.len())?;
    let read = |(name, one): (String, L)| {
        check_name(&name)?;
        Ok((name, list(one)?))
    };
    lists.into_iter().map(read).collect()
}

fn subscriptions<R>(
    rooms: BTreeMap<String, R>,
    room: impl Fn(R) -> Result<RoomConfig, SlidingBodyError>,
) -> Result<BTreeMap<OwnedRoomId, RoomConfig>, SlidingBodyError> {
    check_count(rooms.len())?;
    let mut subscriptions = BTreeMap::new();
    for (room_id, one) in rooms {
        let config = room(one)?;
        // "Rooms […] that does not exist, should be ignored by the server."
        if let Ok(room_id) = OwnedRoomId::try_from(room_id) {
            subscriptions.insert(room_id, config);
        }
    }
    Ok(subscriptions)
}

fn make_list(
    ranges: Option<Vec<Range>>,
    filters: Option<Filters>,
    config: RoomConfig,
) -> Result<List, SlidingBodyError> {
    let filters = filters.unwrap_or_default();
    if filters.longest_list() > ENTRIES_MAX {
        return Err(Invalid(format!("A filter has a list of more than {ENTRIES_MAX} entries")));
    }
    let Some(ranges) = ranges else { return Ok(List { ranges: None, filters, config }) };
    if ranges.len() > RANGES_MAX {
        return Err(Invalid(format!("A list has more than {RANGES_MAX} ranges")));
    }
    let mut read = Vec::with_capacity(ranges.len());
    for (first, last) in &ranges {
        let (first, last) = (number(first, "range")?, number(last, "range")?);
        if first > last {
            return Err(Invalid(format!("The range [{first}, {last}] ends before it begins")));
        }
        read.push((first, last));
    }
    Ok(List { ranges: Some(read), filters, config })
}

fn config(limit: &Number, part: Part) -> Result<RoomConfig, SlidingBodyError> {
    if part.include.len().max(part.exclude.len()) > ENTRIES_MAX {
        return Err(Invalid(format!("`required_state` has more than {ENTRIES_MAX} entries")));
    }
    let limit = number(limit, "timeline_limit")?.min(TIMELINE_LIMIT_MAX);
    Ok(RoomConfig {
        timeline_limit: usize::try_from(limit).unwrap_or_default(),
        required: Arc::new(Required::of(part)),
    })
}

fn number(number: &Number, what: &str) -> Result<u64, SlidingBodyError> {
    number
        .as_u64()
        .ok_or_else(|| Invalid(format!("`{what}` must be an integer that is not negative")))
}

/// `"*"` for anything, `"$ME"` for the user, `"$LAZY"` for the members who are needed.
fn unstable(pairs: Vec<(String, String)>, user: &UserId) -> Part {
    let mut part = Part::default();
    for (event_type, state_key) in pairs {
        if event_type == MEMBER && state_key == "$LAZY" {
            part.lazy_members = true;
            continue;
        }
        let state_key = match state_key.as_str() {
            "*" => None,
            "$ME" => Some(user.to_string()),
            _ => Some(state_key),
        };
        let event_type = (event_type != "*").then_some(event_type);
        part.include.push(Element { event_type, state_key });
    }
    part
}

fn stable(required: StableRequired) -> Part {
    let read = |elements: Vec<StableElement>| {
        let elements = elements.into_iter();
        elements
            .map(|StableElement { event_type, state_key }| Element { event_type, state_key })
            .collect()
    };
    Part {
        include: read(required.include),
        exclude: read(required.exclude),
        lazy_members: required.lazy_members,
    }
}

fn extensions(json: JsonExtensions) -> Result<Extensions, SlidingBodyError> {
    let is_on = |extension: Option<Enabled>| {
        extension.is_some_and(|extension| extension.enabled == Some(true))
    };
    let to_device = json.to_device.filter(|extension| extension.enabled == Some(true));
    let threads = json.thread_subscriptions.filter(|extension| extension.enabled == Some(true));
    let presence =
        [("im.meridian.presence", is_on(json.own_presence)), ("presence", is_on(json.presence))];
    Ok(Extensions {
        to_device: to_device.map(to_device_of).transpose()?,
        e2ee: is_on(json.e2ee),
        account_data: reach(json.account_data),
        receipts: reach(json.receipts),
        typing: reach(json.typing).map(|reach| ("typing", reach)).or_else(|| {
            reach(json.msc4508_typing).map(|reach| ("org.matrix.msc4508.typing", reach))
        }),
        thread_subscriptions: threads
            .map(|threads| limit(threads.limit.as_ref(), THREADS_LIMIT))
            .transpose()?,
        presence: presence.into_iter().find(|(_, is_on)| *is_on).map(|(key, _)| key),
        profiles: profiles("profiles", json.profiles)
            .or_else(|| profiles("org.matrix.msc4262.profiles", json.msc4262_profiles)),
    })
}

/// `None` unless the extension is enabled.
fn reach(extension: Option<JsonReach>) -> Option<Reach> {
    let extension = extension.filter(|extension| extension.enabled == Some(true))?;
    let some = |names: Option<BTreeSet<String>>| names.filter(|names| !names.contains("*"));
    Some(Reach { lists: some(extension.lists), rooms: some(extension.rooms) })
}

fn profiles(key: &'static str, json: Option<JsonProfiles>) -> Option<Profiles> {
    let JsonProfiles { fields, reach: names } = json?;
    Some(Profiles { key, reach: reach(Some(names))?, fields })
}

fn to_device_of(json: JsonToDevice) -> Result<ToDevice, SlidingBodyError> {
    Ok(ToDevice { since: json.since, limit: limit(json.limit.as_ref(), TO_DEVICE_LIMIT)? })
}

/// `max` if there is none.
fn limit(given: Option<&Number>, max: u64) -> Result<usize, SlidingBodyError> {
    let given = given.map(|given| number(given, "limit")).transpose()?;
    Ok(usize::try_from(given.unwrap_or(max).clamp(1, max)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::{Value, json};

    use super::{Dialect, SlidingBody, SlidingBodyError};

    fn parse(dialect: Dialect, body: &Value) -> Result<SlidingBody, SlidingBodyError> {
        SlidingBody::parse(dialect, user_id!("@ada:x.test"), body.to_string().as_bytes())
    }

    fn many(count: usize, value: &Value) -> Value {
        (0..count)
            .map(|index| (format!("!{index}:x"), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn values_out_of_bounds_are_invalid() {
        let list = |range: Value| json!({"lists": {"l": {"ranges": range, "timeline_limit": 1, "required_state": []}}});
        let room = json!({"timeline_limit": 1, "required_state": []});
        for body in [
            list(json!([[1, 0]])),
            list(json!([[-1, 0]])),
            list(json!([[0, 1.5]])),
            list(json!([[0, 1e30]])),
            list(json!(vec![[0, 1]; 21])),
            json!({"lists": many(101, &room)}),
            json!({"room_subscriptions": many(101, &room)}),
            json!({"room_subscriptions": {"!a:x": {"timeline_limit": -1, "required_state": []}}}),
            json!({"conn_id": "c".repeat(256)}),
        ] {
            let error = parse(Dialect::Unstable, &body).expect_err("out of bounds");
            assert!(matches!(error, SlidingBodyError::Invalid(_)), "{body}: {error}");
        }
        let end = list(json!([[0, u64::MAX]]));
        parse(Dialect::Unstable, &end).expect("a range may end behind all rooms");
        parse(Dialect::Unstable, &json!({"room_subscriptions": many(100, &room)})).expect("100");
    }

    #[test]
    fn both_dialects_mean_the_same() {
        let unstable = parse(
            Dialect::Unstable,
            &json!({"lists": {"l": {
                "ranges": [[0, 9]],
                "timeline_limit": 3,
                "required_state": [["m.room.member", "$LAZY"], ["m.room.member", "$ME"], ["*", ""]],
            }}}),
        );
        let stable = parse(
            Dialect::Stable,
            &json!({"lists": {"l": {
                "range": [0, 9],
                "timeline_limit": 3,
                "required_state": {
                    "include": [
                        {"type": "m.room.member", "state_key": "@ada:x.test"},
                        {"state_key": ""},
                    ],
                    "lazy_members": true,
                },
            }}}),
        );
        let (unstable, stable) = (unstable.expect("valid"), stable.expect("valid"));
        let (one, other) = (&unstable.lists["l"], &stable.lists["l"]);
        assert_eq!((&one.ranges, &one.config), (&other.ranges, &other.config));
    }

    #[test]
    fn extensions_are_off_unless_enabled() {
        let body = json!({"extensions": {
            "typing": {}, "e2ee": {"enabled": false}, "unheard.of": [1],
            "receipts": {"enabled": true, "rooms": ["*"], "lists": []},
        }});
        let extensions = parse(Dialect::Unstable, &body).expect("valid").extensions;
        assert!(extensions.typing.is_none() && !extensions.e2ee);
        let receipts = extensions.receipts.expect("enabled");
        assert!(receipts.rooms.is_none());
        assert!(receipts.lists.is_some_and(|lists| lists.is_empty()));
    }
}
