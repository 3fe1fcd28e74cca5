//! What a device can be told; the same words that the pages of matrix-js-sdk understand.

use matrix_sdk::ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Line {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) command: Command,
}

#[derive(Deserialize)]
#[serde(tag = "do", content = "with", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Command {
    LogIn { server: String, name: String },
    Resume(Session),
    Sync {},
    LogOut {},
    SetUpEncryption {},
    Recover { recovery_key: String },
    UntilKnows { user: OwnedUserId, device: OwnedDeviceId },
    UntilTrusts { user: OwnedUserId, devices: Vec<OwnedDeviceId> },
    AskToVerify { user: OwnedUserId, room: Option<OwnedRoomId> },
    AnswerVerification { user: OwnedUserId, flow: String },
    StartSas {},
    Emojis {},
    UntilMac {},
    Confirm {},
    UntilVerified {},
    CreateRoom { name: String, invite: OwnedUserId },
    Join { room: OwnedRoomId },
    UntilJoined { room: OwnedRoomId, members: u64 },
    Say { room: OwnedRoomId, body: String },
    Hear { room: OwnedRoomId, event: OwnedEventId },
    ReadBack { room: OwnedRoomId },
    WalkRoomList {},
    UntilTop { room: OwnedRoomId },
    SetPusher { url: String, pushkey: String },
    Notification { room: OwnedRoomId, event: OwnedEventId },
}

/// A log-in of before, whose store is there.
#[derive(Deserialize)]
pub(crate) struct Session {
    pub(crate) server: String,
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    pub(crate) token: String,
}
