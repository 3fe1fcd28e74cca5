//! A socket's first seconds: until it is known whose it is.

use std::time::Duration;

use accounts::Session;
use frames::codec::{Message, Opcode};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    super::{
        end::{End, NO_AUTH, PROTOCOL_ERROR},
        frame::{self, Incoming, Request},
        methods,
    },
    Mode, Socket, Start, auth_result,
};
use crate::error::Error;

/// The first frame has to authenticate within this time.
const AUTH_TIME: Duration = Duration::from_secs(10);

impl Socket {
    /// Authenticates, and starts the sync of the draft.
    pub(super) async fn open(&mut self, start: Start) -> Result<Session, End> {
        let session = match start.session {
            Some(session) => session,
            None => match timeout(AUTH_TIME, self.first_frame()).await {
                Ok(session) => session?,
                Err(_elapsed) => return Err(NO_AUTH),
            },
        };
        if let (Mode::Draft, Some(params)) = (self.mode, start.query)
            && let Err(refused) = self.start_sync(&session, *params).await
        {
            self.write(&frame::failure(None, &refused)).await?;
            return Err(PROTOCOL_ERROR);
        }
        Ok(session)
    }

    /// Without a header or a ticket the first frame has to be `auth`.
    async fn first_frame(&mut self) -> Result<Session, End> {
        let text = loop {
            match self.transport.receive().await? {
                Message::Text(text) => break text,
                Message::Ping(payload) => self.send(Opcode::Pong, &payload).await?,
                Message::Pong => (),
                Message::Close(code) => return Err(End::Left { code }),
            }
        };
        let Ok(Incoming::Request(request)) = frame::read(&text) else { return Err(NO_AUTH) };
        if request.method != "auth" {
            return Err(NO_AUTH);
        }
        let outcome = self.authenticate(&request);
        let end = outcome.as_ref().err().map(End::of_refused_token);
        let result = outcome.as_ref().map(|session| auth_result(session, self.now_ms()));
        self.answer(&request, result.map_err(Error::clone)).await?;
        outcome.map_err(|_refused| end.unwrap_or(NO_AUTH))
    }

    pub(super) fn authenticate(&self, request: &Request) -> Result<Session, Error> {
        #[derive(Deserialize)]
        struct Auth {
            access_token: Option<String>,
        }
        let auth: Auth = methods::read(&request.params)?;
        let token = auth.access_token.ok_or_else(Error::missing_token)?;
        self.pieces().gate.session(&token)
    }
}
