//! Who came back from an identity provider, as a user of this server.

use accounts::{
    Accounts, Confirmation, ExternalIdentity, LinkError, NewUser, RegisterError, StoreError, User,
    UsernameError,
};
use ruma::{OwnedUserId, UserId};

use crate::{ClientUrl, Goal, Newcomers, Sso, SsoError, localpart};

/// Names that are tried for a newcomer: `ada`, `ada1`, `ada2` and so on.
const NAMES_TRIED: usize = 20;

/// Whether an account made here may have the name, which may be that of a bridge's user.
pub type MayBeNamed<'a> = &'a (dyn Fn(&UserId) -> bool + Send + Sync);

/// Somebody, as a provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Identifies them for good.
    pub(crate) subject: String,
    /// What a newcomer is to be called, before it is made a localpart.
    pub(crate) name: Option<String>,
    pub(crate) display_name: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    LoggedIn {
        user_id: OwnedUserId,
        client: ClientUrl,
        /// Of the client, with a login token.
        url: String,
        /// The browser may be sent there without a question.
        trusted: bool,
    },
    /// What the user began is confirmed.
    Confirmed,
    /// Somebody else came than the one who began it.
    OtherUser,
}

impl Sso {
    pub(crate) async fn arrive(
        &self,
        (provider, newcomers): (&str, Newcomers),
        person: Person,
        goal: Goal,
        may_be_named: MayBeNamed<'_>,
    ) -> Result<Arrival, SsoError> {
        let accounts = &self.inner.accounts;
        let identity =
            ExternalIdentity { provider: provider.to_owned(), subject: person.subject.clone() };
        match goal {
            Goal::Confirm(session) => {
                let user_id = accounts.user_of_identity(&identity).await?;
                match accounts.confirm_by_sso(&session, user_id.as_deref()) {
                    Confirmation::Done => Ok(Arrival::Confirmed),
                    Confirmation::OtherUser => Ok(Arrival::OtherUser),
                    Confirmation::NoSession => Err(SsoError::Expired),
                }
            }
            Goal::LogIn(client) => {
                let user = match self.user_of(&identity).await? {
                    Some(user) => user,
                    None => {
                        let newcomer = Newcomer { accounts, identity: &identity, may_be_named };
                        newcomer.settle(&person, newcomers).await?
                    }
                };
                if user.deactivated {
                    return Err(SsoError::Deactivated);
                }
                let (token, _life) = accounts.issue_login_token(&user.user_id);
                Ok(Arrival::LoggedIn {
                    url: client.with_token(&token),
                    trusted: self.inner.trusted.contain(&client),
                    client,
                    user_id: user.user_id,
                })
            }
        }
    }

    async fn user_of(&self, identity: &ExternalIdentity) -> Result<Option<User>, StoreError> {
        let accounts = &self.inner.accounts;
        match accounts.user_of_identity(identity).await? {
            Some(user_id) => accounts.user(&user_id).await,
            None => Ok(None),
        }
    }
}

struct Newcomer<'a> {
    accounts: &'a Accounts,
    identity: &'a ExternalIdentity,
    may_be_named: MayBeNamed<'a>,
}

impl Newcomer<'_> {
    async fn settle(&self, person: &Person, policy: Newcomers) -> Result<User, SsoError> {
        let name = person.name.as_deref().ok_or(SsoError::Nameless)?;
        let localpart = localpart::from_name(name);
        if policy.adopt_existing
            && let Some(user) = self.existing(&localpart).await?
        {
            return self.adopt(user).await;
        }
        if !policy.register {
            return Err(SsoError::NoNewcomers);
        }
        let user = self.register(&localpart).await?;
        if let Some(name) = &person.display_name {
            self.call(&user, name).await;
        }
        Ok(user)
    }

    async fn existing(&self, localpart: &str) -> Result<Option<User>, StoreError> {
        match self.accounts.user_id(localpart).filter(|user_id| (self.may_be_named)(user_id)) {
            Some(user_id) => {
                let user = self.accounts.user(&user_id).await?;
                Ok(user.filter(|user| !user.guest))
            }
            None => Ok(None),
        }
    }

    async fn adopt(&self, user: User) -> Result<User, SsoError> {
        if user.deactivated {
            return Err(SsoError::Deactivated);
        }
        match self.accounts.link_identity(&user.user_id, self.identity).await {
            Ok(()) => Ok(user),
            // They came twice at the same time, and were given different accounts.
            Err(LinkError::InUse) => Err(SsoError::Expired),
            Err(LinkError::Store(error)) => Err(error.into()),
        }
    }

    async fn register(&self, localpart: &str) -> Result<User, SsoError> {
        for number in 0..NAMES_TRIED {
            let localpart = match number {
                0 => localpart.to_owned(),
                _ => format!("{localpart}{number}"),
            };
            let user_id = self.accounts.user_id(&localpart);
            if user_id.is_some_and(|user_id| !(self.may_be_named)(&user_id)) {
                continue;
            }
            let new = NewUser {
                localpart: Some(&localpart),
                identity: Some(self.identity),
                ..NewUser::default()
            };
            match self.accounts.register(new).await {
                Ok(user) => return Ok(user),
                Err(RegisterError::UserInUse) => {}
                Err(RegisterError::IdentityInUse) => return Err(SsoError::Expired),
                Err(RegisterError::InvalidUsername(error)) => return Err(SsoError::Name(error)),
                Err(RegisterError::Store(error)) => return Err(error.into()),
                Err(
                    RegisterError::Password(_)
                    | RegisterError::RegistrationToken
                    | RegisterError::EmailInUse,
                ) => return Err(SsoError::Nameless),
            }
        }
        Err(SsoError::NameTaken)
    }

    /// The account is there; without the name it is one all the same.
    async fn call(&self, user: &User, name: &str) {
        let Ok(value) = serde_json::value::to_raw_value(name) else { return };
        let set = self.accounts.set_profile_field(&user.user_id, "displayname", &value).await;
        if let Err(error) = set {
            tracing::warn!(user = %user.user_id, %error, "a newcomer has no display name");
        }
    }
}

impl From<UsernameError> for SsoError {
    fn from(error: UsernameError) -> Self {
        Self::Name(error)
    }
}
