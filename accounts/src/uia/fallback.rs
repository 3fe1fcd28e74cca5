//! Stages that are completed on a page of this server ([spec]): the page knows the session's id and
//! nothing else, and the client repeats its request afterwards.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#fallback

use ruma::{OwnedUserId, UserId};

use super::{Proof, Stage, UiaError, UiaRequest};
use crate::Accounts;

/// More of a path than any endpoint's has before what a client chooses.
const PATH_CHARS_MAX: usize = 100;

/// What a session was begun for, for a page to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UiaAsked {
    /// Who is logged in, if anybody is.
    pub user_id: Option<OwnedUserId>,
    /// The path of the request, or the beginning of a long one.
    pub path: String,
}

impl UiaAsked {
    pub(super) fn new(request: &UiaRequest<'_>) -> Self {
        Self {
            user_id: request.user_id.map(ToOwned::to_owned),
            path: request.path.chars().take(PATH_CHARS_MAX).collect(),
        }
    }
}

/// What it meant that somebody came back from an identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The stage is complete.
    Done,
    /// The session is spoiled: its request is going to be refused.
    OtherUser,
    /// There is no such session, or nobody is logged in whom it could be about.
    NoSession,
}

impl Accounts {
    /// `None` if there is no such session.
    pub fn uia_asked(&self, session: &str) -> Option<UiaAsked> {
        let now = self.inner.clock.now_ms();
        self.inner.uia.0.with(session, now, |session| session.asked.clone())
    }

    /// Completes `m.login.terms`. `false` if there is no such session.
    pub fn accept_terms(&self, session: &str) -> bool {
        self.note_completed(session, Stage::Terms, Proof::default()).is_some()
    }

    /// Completes `m.login.registration_token`. `false` if the token is not valid.
    pub async fn give_registration_token(
        &self,
        session: &str,
        token: &str,
    ) -> Result<bool, UiaError> {
        self.uia_asked(session).ok_or(UiaError::UnknownSession)?;
        match self.attempt_registration_token(token).await? {
            Ok(proof) => self.complete_on_page(session, Stage::RegistrationToken, proof),
            Err(failure) => {
                if failure.is_guess {
                    self.count_failure(session);
                }
                Ok(false)
            }
        }
    }

    /// Completes `m.login.recaptcha`. `false` if the response is not accepted.
    pub async fn give_captcha(&self, session: &str, response: &str) -> Result<bool, UiaError> {
        self.uia_asked(session).ok_or(UiaError::UnknownSession)?;
        match self.attempt_captcha(Some(response)).await? {
            Ok(proof) => self.complete_on_page(session, Stage::Recaptcha, proof),
            Err(failure) => {
                if failure.is_guess {
                    self.count_failure(session);
                }
                Ok(false)
            }
        }
    }

    fn complete_on_page(
        &self,
        session: &str,
        stage: Stage,
        proof: Proof,
    ) -> Result<bool, UiaError> {
        self.note_completed(session, stage, proof).ok_or(UiaError::UnknownSession)?;
        Ok(true)
    }

    /// Completes `m.login.sso` if the one who came is the one who is logged in.
    pub fn confirm_by_sso(&self, session: &str, who: Option<&UserId>) -> Confirmation {
        let Some(expected) = self.uia_asked(session).and_then(|asked| asked.user_id) else {
            return Confirmation::NoSession;
        };
        if who != Some(&*expected) {
            let now = self.inner.clock.now_ms();
            self.inner.uia.0.with(session, now, |session| session.by_another = true);
            return Confirmation::OtherUser;
        }
        let proof = Proof { user_id: Some(expected), ..Proof::default() };
        match self.note_completed(session, Stage::Sso, proof) {
            Some(_) => Confirmation::Done,
            None => Confirmation::NoSession,
        }
    }
}
