//! What a socket hears of its client.
//!
//! Signs of life are most of it. They are noted where they arrive, without an answer, so that all
//! else that the socket waits for goes on waiting.

use std::time::Duration;

use accounts::Session;
use frames::codec::Message;
use serde::{Deserialize, de::IgnoredAny};
use tokio::time::Instant;

use super::super::{
    Pieces,
    end::{End, TOO_FAST},
    transport::Transport,
};
use crate::limits::Action;

/// Frames of one socket per second before it is closed.
const FRAMES_PER_SECOND_MAX: u32 = 200;
/// A longer frame says more than that somebody is there.
const SIGN_OF_LIFE_BYTES_MAX: usize = 128;

pub(super) struct Heard {
    /// Pings in a row that were not answered.
    pub(super) pings_missed: u8,
    /// Frames in the second that began at the instant.
    frames: (Instant, u32),
}

impl Heard {
    pub(super) fn nothing(now: Instant) -> Self {
        Self { pings_missed: 0, frames: (now, 0) }
    }

    /// Waits for a message that is to be dealt with. Safe to cancel.
    pub(super) async fn next(
        &mut self,
        transport: &mut Transport,
        pieces: &Pieces,
        session: &Session,
    ) -> Result<Message, End> {
        loop {
            let message = transport.receive().await;
            self.pings_missed = 0;
            self.count(pieces)?;
            match message? {
                Message::Pong => (),
                Message::Text(text) if note_sign_of_life(pieces, session, &text) => (),
                message => return Ok(message),
            }
        }
    }

    fn count(&mut self, pieces: &Pieces) -> Result<(), End> {
        if !pieces.gate.config().rate_limits.enabled {
            return Ok(());
        }
        let now = Instant::now();
        let (since, count) = &mut self.frames;
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count > FRAMES_PER_SECOND_MAX { Err(TOO_FAST) } else { Ok(()) }
    }
}

/// `false` if it is something else, or to be refused: then it is a request as any other.
fn note_sign_of_life(pieces: &Pieces, session: &Session, text: &str) -> bool {
    let Some(active) = sign_of_life(text) else { return false };
    if pieces.gate.limit_user(Action::Other, session).is_err() {
        return false;
    }
    pieces.presence.heartbeat(&session.user_id, &session.device_id, active);
    true
}

/// What a `presence` without an `id` says that sets nothing but `active`.
fn sign_of_life(text: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        id: Option<IgnoredAny>,
        method: &'a str,
        params: Params,
    }
    #[derive(Deserialize)]
    struct Params {
        presence: Option<IgnoredAny>,
        status_msg: Option<IgnoredAny>,
        active: Option<bool>,
    }
    if text.len() > SIGN_OF_LIFE_BYTES_MAX || !text.contains("\"presence\"") {
        return None;
    }
    let Frame { id, method, params } = serde_json::from_str(text).ok()?;
    let sets = params.presence.is_some() || params.status_msg.is_some();
    params.active.filter(|_| method == "presence" && id.is_none() && !sets)
}

#[cfg(test)]
mod tests {
    use super::sign_of_life;

    #[test]
    fn only_what_wants_no_answer_and_sets_nothing_is_a_sign_of_life() {
        let cases = [
            (r#"{"method":"presence","params":{"active":true}}"#, Some(true)),
            (r#"{"params":{"active":false,"x":[]},"id":null,"method":"presence"}"#, Some(false)),
            (r#"{"id":"a","method":"presence","params":{"active":true}}"#, None),
            (r#"{"method":"presence","params":{"active":true,"presence":"online"}}"#, None),
            (r#"{"method":"presence","params":{"active":true,"status_msg":"here"}}"#, None),
            (r#"{"method":"presence","params":{}}"#, None),
            (r#"{"method":"presence","params":{"active":1}}"#, None),
            (r#"{"method":"presence"}"#, None),
            (r#"{"method":"ping","params":{"active":true},"x":"presence"}"#, None),
            (r#"{"method":"presence","params":{"active":true}"#, None),
        ];
        for (text, active) in cases {
            assert_eq!(sign_of_life(text), active, "{text}");
        }
    }
}
