//! The requests of one socket that are being carried out.

use std::{future::Future, pin::Pin};

use futures_util::{StreamExt as _, stream::FuturesUnordered};

/// Resolves to the frame that answers, if there is one.
type Running = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Holds no memory while it is empty, which it is for most of a socket's life.
#[derive(Default)]
pub(super) struct InFlight(Option<FuturesUnordered<Running>>);

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, FuturesUnordered::len)
    }

    pub(super) fn push(&mut self, request: impl Future<Output = Option<String>> + Send + 'static) {
        self.0.get_or_insert_default().push(Box::pin(request));
    }

    /// Waits for the next one to end; for ever if there is none. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<String> {
        let Some(requests) = &mut self.0 else { return std::future::pending().await };
        let answer = requests.next().await.flatten();
        if requests.is_empty() {
            self.0 = None;
        }
        answer
    }
}
