//! Room versions 1 to 12: which rules apply in which, asked by name.
//!
//! A version is looked up once, at the edge; inside, rules get a `&'static RoomVersion`.

use ruma::{
    RoomVersionId,
    room_version_rules::{
        EventIdFormatVersion, EventsReferenceFormatVersion, RoomVersionRules,
        StateResolutionVersion,
    },
};

use crate::canonical::Numbers;

/// A room version this server knows, with its rules.
#[derive(Debug)]
pub struct RoomVersion {
    number: u8,
    id: RoomVersionId,
    rules: RoomVersionRules,
}

/// Which state resolution a version uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    V1,
    V2,
    V2_1,
}

const VERSIONS: &[RoomVersion] = &[
    RoomVersion { number: 1, id: RoomVersionId::V1, rules: RoomVersionRules::V1 },
    RoomVersion { number: 2, id: RoomVersionId::V2, rules: RoomVersionRules::V2 },
    RoomVersion { number: 3, id: RoomVersionId::V3, rules: RoomVersionRules::V3 },
    RoomVersion { number: 4, id: RoomVersionId::V4, rules: RoomVersionRules::V4 },
    RoomVersion { number: 5, id: RoomVersionId::V5, rules: RoomVersionRules::V5 },
    RoomVersion { number: 6, id: RoomVersionId::V6, rules: RoomVersionRules::V6 },
    RoomVersion { number: 7, id: RoomVersionId::V7, rules: RoomVersionRules::V7 },
    RoomVersion { number: 8, id: RoomVersionId::V8, rules: RoomVersionRules::V8 },
    RoomVersion { number: 9, id: RoomVersionId::V9, rules: RoomVersionRules::V9 },
    RoomVersion { number: 10, id: RoomVersionId::V10, rules: RoomVersionRules::V10 },
    RoomVersion { number: 11, id: RoomVersionId::V11, rules: RoomVersionRules::V11 },
    RoomVersion { number: 12, id: RoomVersionId::V12, rules: RoomVersionRules::V12 },
];

impl RoomVersion {
    /// The identifier of the version of rooms that name none.
    pub const DEFAULT: &'static str = "12";

    /// The version called `id`, if this server knows it.
    ///
    /// `org.matrix.hydra.11` is the name under which version 12 was tried out.
    pub fn parse(id: &str) -> Option<&'static Self> {
        let id = if id == "org.matrix.hydra.11" { "12" } else { id };
        Self::all().find(|version| version.as_str() == id)
    }

    /// The version of rooms that name none.
    pub fn default_version() -> &'static Self {
        Self::parse(Self::DEFAULT).expect("the default is in the table")
    }

    /// All known versions, oldest first.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        VERSIONS.iter()
    }

    pub fn id(&self) -> &RoomVersionId {
        &self.id
    }

    pub fn as_str(&self) -> &str {
        self.id.as_str()
    }

    pub fn rules(&self) -> &RoomVersionRules {
        &self.rules
    }

    /// Versions 1 and 2: the event id is chosen by the sender and stands in the PDU.
    pub fn event_id_in_pdu(&self) -> bool {
        self.rules.event_id_format == EventIdFormatVersion::V1
    }

    /// Version 3 only: event ids in the standard base64 alphabet (`/` and `+`).
    pub(crate) fn event_id_is_standard_base64(&self) -> bool {
        self.rules.event_id_format == EventIdFormatVersion::V2
    }

    /// Versions 1 and 2: `prev_events` and `auth_events` are pairs of an id and hashes.
    pub(crate) fn references_are_pairs(&self) -> bool {
        self.rules.events_reference_format == EventsReferenceFormatVersion::V1
    }

    /// Version 12: the room id is the create event's id under another sigil.
    pub fn room_id_is_create_hash(&self) -> bool {
        self.rules.authorization.room_create_event_id_as_room_id
    }

    /// Version 6 on: JSON that is not canonical is refused.
    pub fn strict_json(&self) -> bool {
        self.rules.authorization.strict_canonical_json
    }

    /// How numbers in events are read.
    pub fn numbers(&self) -> Numbers {
        if self.strict_json() { Numbers::Strict } else { Numbers::AsText }
    }

    /// Version 11 on, identifiers are measured in bytes; before, deployed servers counted
    /// characters, so longer events exist.
    pub(crate) fn measures_ids_in_bytes(&self) -> bool {
        self.number >= 11
    }

    /// Version 12: creators stand above every level and cannot be demoted.
    pub fn creators_have_infinite_power(&self) -> bool {
        self.rules.authorization.explicitly_privilege_room_creators
    }

    /// Version 12: `additional_creators` in the create event.
    pub fn additional_creators(&self) -> bool {
        self.rules.authorization.additional_room_creators
    }

    /// Version 11 on, the create event's `sender` is the creator; before, `content.creator` names
    /// them.
    pub fn creator_is_sender(&self) -> bool {
        self.rules.authorization.use_room_create_sender
    }

    /// Version 7 on: the `knock` membership and join rule.
    pub fn knocking(&self) -> bool {
        self.rules.authorization.knocking
    }

    /// Version 8 on: the `restricted` join rule.
    pub fn restricted_joins(&self) -> bool {
        self.rules.authorization.restricted_join_rule
    }

    /// Version 10 on: the `knock_restricted` join rule.
    pub fn knock_restricted_joins(&self) -> bool {
        self.rules.authorization.knock_restricted_join_rule
    }

    /// Version 10 on: power levels are integers, no longer strings.
    pub fn integer_power_levels(&self) -> bool {
        self.rules.authorization.integer_power_levels
    }

    /// Version 11 on: a redaction names its target in `content.redacts`.
    pub fn redacts_in_content(&self) -> bool {
        self.rules.redaction.content_field_redacts
    }

    /// Version 5 on: a signing key counts only while it is valid at the event's
    /// `origin_server_ts`.
    pub fn enforces_key_validity(&self) -> bool {
        self.rules.enforce_key_validity
    }

    pub(crate) fn resolution(&self) -> Resolution {
        match &self.rules.state_res {
            StateResolutionVersion::V1 => Resolution::V1,
            StateResolutionVersion::V2(rules) if rules.consider_conflicted_state_subgraph => {
                Resolution::V2_1
            }
            StateResolutionVersion::V2(_) => Resolution::V2,
        }
    }
}
