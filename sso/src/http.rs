//! HTTP to identity providers, which the binary knows how to speak.

use std::{future::Future, pin::Pin};

use bytes::Bytes;

/// A request to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub url: String,
    /// The whole `Authorization` header.
    pub authorization: Option<String>,
    /// The fields of a form; without one it is a GET.
    pub form: Option<String>,
}

impl Ask {
    pub(crate) fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), authorization: None, form: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

pub type AskFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

/// Reaches identity providers.
pub trait Http: Send + Sync {
    /// Bounded in time and in the size of the answer; redirects are not followed. An error says for
    /// the log why there is no answer.
    fn ask(&self, ask: Ask) -> AskFuture<'_>;
}
