//! `[support]` and `[turn]`: what clients are told of this region besides where it is.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use ruma::UserId;

use super::section::section;

section! {
    /// Whom users, and those who run other servers, may turn to: `/.well-known/matrix/support`. Left
    /// empty, nothing is said.
    pub struct Support {
        /// The Matrix id of an administrator, such as "@admin:example.org".
        admin: Option<String> = None,
        /// The email address of an administrator.
        admin_email: Option<String> = None,
        /// The Matrix id of whoever is to hear of security matters.
        security: Option<String> = None,
        /// The email address of whoever is to hear of security matters.
        security_email: Option<String> = None,
        /// The address of a page that helps users of this region.
        page: Option<String> = None,
    }
}

section! {
    /// TURN servers, through which calls go where two clients do not reach each other. coturn, for
    /// example, run with `use-auth-secret`.
    pub struct Turn {
        /// Their addresses, such as "turn:turn.example.org:3478?transport=udp".
        uris: Vec<String> = Vec::new(),
        /// The secret that they share with this region (`static-auth-secret` of coturn).
        shared_secret: Option<String> = None,
        /// Minutes after which a client asks for new credentials.
        lifetime_minutes: u64 = 1440,
    }
}

impl Support {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        for id in self.admin.iter().chain(&self.security) {
            UserId::parse(id).with_context(|| format!("[support] {id:?} is no Matrix id"))?;
        }
        Ok(())
    }

    pub(super) fn to_config(&self) -> client_api::Support {
        let contact = |role, matrix_id: &Option<String>, email_address: &Option<String>| {
            (matrix_id.is_some() || email_address.is_some()).then(|| client_api::Contact {
                role,
                matrix_id: matrix_id.clone(),
                email_address: email_address.clone(),
            })
        };
        let contacts = [
            contact("m.role.admin", &self.admin, &self.admin_email),
            contact("m.role.security", &self.security, &self.security_email),
        ];
        client_api::Support {
            contacts: contacts.into_iter().flatten().collect(),
            support_page: self.page.clone(),
        }
    }
}

impl Turn {
    /// `None` if there are none.
    pub(super) fn to_config(&self) -> anyhow::Result<Option<accounts::Turn>> {
        if self.uris.is_empty() {
            return Ok(None);
        }
        let secret = self.shared_secret.as_ref();
        let secret = secret.context("[turn] `uris` need a `shared_secret`")?;
        for uri in &self.uris {
            let is_one = ["turn:", "turns:"].iter().any(|scheme| uri.starts_with(scheme));
            ensure!(is_one, "[turn] `uris`: {uri:?} begins neither with turn: nor with turns:");
        }
        Ok(Some(accounts::Turn {
            uris: self.uris.clone(),
            secret: accounts::Secret::new(secret.as_bytes()),
            lifetime: Duration::from_secs(self.lifetime_minutes.max(1) * 60),
        }))
    }
}
