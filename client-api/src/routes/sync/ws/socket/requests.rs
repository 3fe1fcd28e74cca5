//! What the text frames of an authenticated socket ask for, and their answers.

use std::time::Duration;

use accounts::Session;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use sync::{Dialect, SlidingBody, SlidingUpdate, SyncError};

use super::{
    super::{
        delivered,
        end::{End, NO_AUTH},
        frame::{self, Incoming, Request},
        methods,
        running::{Running, StartParams, Stream, checked_window, sync_params},
    },
    Open, Socket, auth_result,
};
use crate::{
    error::Error,
    routes::sync::{presence_state, sliding},
};

/// Requests of one socket that are carried out at a time.
const IN_FLIGHT_MAX: usize = 20;
/// The form of sliding sync that a socket speaks.
const MERGED: Dialect = Dialect::Stable;

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
            "sync.start" => socket.start(session, &request.params).await,
            "sync.update" => socket.update_sync(session, &request.params),
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
    async fn start(&mut self, session: &Session, params: &RawValue) -> Result<Value, Error> {
        #[derive(Deserialize)]
        struct Start {
            mode: String,
        }
        let Start { mode } = methods::read(params)?;
        match mode.as_str() {
            "v3" => self.start_sync(session, methods::read(params)?).await,
            "sliding" => self.start_sliding(session, params).await,
            _ => {
                let text = format!("There is no sync mode {mode:?}");
                Err(Error::new(http::StatusCode::NOT_FOUND, "M_UNRECOGNIZED", text))
            }
        }
    }

    /// As [`start_sync`](Self::start_sync); the parameters are the body of sliding sync.
    async fn start_sliding(
        &mut self,
        session: &Session,
        params: &RawValue,
    ) -> Result<Value, Error> {
        #[derive(Deserialize)]
        struct Start {
            window: Option<usize>,
        }
        let Start { window } = methods::read(params)?;
        let window = checked_window(window)?;
        let mut body = SlidingBody::parse(MERGED, &session.user_id, params.get().as_bytes())
            .map_err(|error| sliding::refusal(&error))?;
        body.pos = body.pos.filter(|pos| !pos.is_empty());
        let set_presence = presence_state(body.set_presence.as_deref())?;
        self.running = None;
        let sync = self.pieces().sync.clone();
        let connection =
            sync.sliding_connection(&session.user_id, &session.device_id, &set_presence, body);
        let stream = Stream::Sliding(Box::new(connection.await?));
        self.running = Some(Box::new(Running::new(stream, window)));
        Ok(json!({}))
    }

    /// Looks elsewhere from the next batch on, which comes at once if the window is open.
    fn update_sync(&mut self, session: &Session, params: &RawValue) -> Result<Value, Error> {
        let update = SlidingUpdate::parse(MERGED, &session.user_id, params.get().as_bytes())
            .map_err(|error| sliding::refusal(&error))?;
        match self.running.as_mut().map(|running| &mut running.stream) {
            Some(Stream::Sliding(connection)) => connection.update(update)?,
            _ => return Err(Error::not_found("No sliding sync is running")),
        }
        Ok(json!({}))
    }

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
        self.running = Some(Box::new(Running::new(Stream::V3(connection), window)));
        Ok(json!({}))
    }

    fn stop_sync(&mut self) -> Result<Value, Error> {
        let running = self.running.take().ok_or_else(|| Error::not_found("No sync is running"))?;
        Ok(json!({ "pos": running.stream.pos() }))
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
        let (pieces, changed) = (&self.sockets.inner.pieces, running.stream.account_data());
        if !events.is_empty() && running.delivered.get(pieces, session, changed).await {
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
