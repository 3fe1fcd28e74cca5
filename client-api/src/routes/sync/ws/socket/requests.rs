//! What the text frames of an authenticated socket ask for, and their answers.

use std::time::Duration;

use accounts::Session;
use serde::Deserialize;
use serde_json::{Value, json};
use sync::SyncError;

use super::{
    super::{
        delivered,
        end::{End, NO_AUTH},
        frame::{self, Incoming, Request},
        methods,
        running::{Running, StartParams, sync_params},
    },
    Open, Socket, auth_result,
};
use crate::error::Error;

/// Requests of one socket that are carried out at a time.
const IN_FLIGHT_MAX: usize = 20;

impl Open {
    pub(super) async fn text(&mut self, text: &str) -> Result<(), End> {
        let Self { socket, session, .. } = self;
        let request = match frame::read(text) {
            Ok(Incoming::Request(request)) => request,
            Ok(Incoming::Ignored) => return Ok(()),
            Err(answer) => return socket.write(&answer).await,
        };
        let outcome = match request.method.as_str() {
            "auth" => self.authenticate_again(&request)?,
            "sync.start" => match methods::read(&request.params) {
                Ok(params) => socket.start_sync(session, params).await,
                Err(error) => Err(error),
            },
            "sync.ack" => socket.acknowledge(session, &request).await,
            "sync.stop" => socket.stop_sync(),
            _ => return socket.call(session, request).await,
        };
        self.socket.answer(&request, outcome).await
    }

    /// Swaps in a refreshed token of the same device.
    fn authenticate_again(&mut self, request: &Request) -> Result<Result<Value, Error>, End> {
        let Self { socket, session, ended, .. } = self;
        Ok(match socket.authenticate(request) {
            Ok(new) if new.user_id == session.user_id && new.device_id == session.device_id => {
                if new.id != session.id {
                    *ended = Box::pin(socket.pieces().accounts.session_ended(new.id));
                }
                *session = new;
                socket.expiry_told = false;
                Ok(auth_result(session, socket.now_ms()))
            }
            Ok(_other_device) => return Err(NO_AUTH),
            Err(error) => Err(error),
        })
    }
}

impl Socket {
    /// Starts the sync, in place of one that may be running.
    pub(super) async fn start_sync(
        &mut self,
        session: &Session,
        params: StartParams,
    ) -> Result<Value, Error> {
        let window = params.window()?;
        let params = sync_params(&self.sockets, session, params).await?;
        // The old one goes first: it must not count as delivered what the new one repeats.
        self.running = None;
        let sync = self.pieces().sync.clone();
        let connection = sync.connection(&session.user_id, &session.device_id, params).await;
        let connection = connection.map_err(|error| match error {
            SyncError::InvalidToken => Error::unknown_pos(),
            other => other.into(),
        })?;
        self.running = Some(Box::new(Running::new(connection, window)));
        Ok(json!({}))
    }

    fn stop_sync(&mut self) -> Result<Value, Error> {
        let running = self.running.take().ok_or_else(|| Error::not_found("No sync is running"))?;
        Ok(json!({ "pos": running.connection.pos() }))
    }

    async fn acknowledge(&mut self, session: &Session, request: &Request) -> Result<Value, Error> {
        #[derive(Deserialize)]
        struct Ack {
            seq: u64,
        }
        let Ack { seq } = methods::read(&request.params)?;
        if seq >= self.next_seq {
            return Err(Error::invalid_param(format!("Batch {seq} was not sent yet")));
        }
        // One that was on its way when the sync stopped says nothing any more.
        let Some(running) = self.running.as_mut() else { return Ok(json!({})) };
        let events = running.acknowledge(seq).await?;
        if !events.is_empty() {
            let (sockets, session) = (self.sockets.clone(), session.clone());
            self.in_flight.push(async move {
                delivered::tell(&sockets.inner.pieces, &session, events).await;
                None
            });
        }
        Ok(json!({}))
    }

    /// Carries a request out beside the others.
    async fn call(&mut self, session: &Session, request: Request) -> Result<(), End> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            let busy = Error::limit_exceeded(Duration::from_millis(100));
            return self.answer(&request, Err(busy)).await;
        }
        let (sockets, session) = (self.sockets.clone(), session.clone());
        self.in_flight.push(async move {
            let id = request.id.clone();
            let outcome = methods::call(sockets, session, request).await;
            match (id, outcome) {
                (Some(id), Ok(result)) => Some(frame::success(&id, &result)),
                (None, Ok(_)) => None,
                (id, Err(error)) => Some(frame::failure(id.as_deref(), &error)),
            }
        });
        Ok(())
    }

    pub(super) async fn answer(
        &mut self,
        request: &Request,
        outcome: Result<Value, Error>,
    ) -> Result<(), End> {
        let text = match (&request.id, outcome) {
            (Some(id), Ok(result)) => frame::success(id, &result),
            (None, Ok(_)) => return Ok(()),
            (id, Err(error)) => frame::failure(id.as_deref(), &error),
        };
        self.write(&text).await
    }
}
