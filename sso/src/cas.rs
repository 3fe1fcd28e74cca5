//! CAS, by its protocol 2.0 and the attributes of 3.0 ([protocol]).
//!
//! [protocol]: https://apereo.github.io/cas/development/protocol/CAS-Protocol-Specification.html

use url::Url;

use crate::{
    CasProvider, Goal, SsoError,
    arrive::Person,
    http::{Ask, Http},
};

/// The longest ticket that is passed on; servers must be able to give 32 and should not exceed 256.
const TICKET_CHARS_MAX: usize = 512;
/// The longest name of a user, in bytes.
const USER_BYTES_MAX: usize = 512;

pub(crate) struct Cas {
    pub(crate) config: CasProvider,
    /// Where a browser comes back to.
    ticket_url: String,
}

impl Cas {
    pub(crate) fn new(config: CasProvider, public_url: &str) -> Self {
        // Services are registered at CAS servers by what Synapse calls itself there.
        Self { config, ticket_url: format!("{public_url}/_matrix/client/r0/login/cas/ticket") }
    }

    pub(crate) fn login_url(&self, goal: &Goal) -> Result<String, SsoError> {
        let query = [("service", self.service(goal)?)];
        self.endpoint("login", &query, goal)
    }

    /// What the CAS server is told that the ticket is for. It is the same before and after.
    fn service(&self, goal: &Goal) -> Result<String, SsoError> {
        let mut url = Url::parse(&self.ticket_url).map_err(|_| SsoError::NoProvider)?;
        match goal {
            Goal::LogIn(client) => {
                url.query_pairs_mut().append_pair("redirectUrl", client.as_str());
            }
            Goal::Confirm(session) => {
                url.query_pairs_mut().append_pair("session", session);
            }
        }
        Ok(url.into())
    }

    /// Who confirms something has to give their password anew: a ticket that the server gave because
    /// the browser was logged in there is not accepted then (`renew`). Nothing else shows that it is
    /// they who want it, since a ticket says nothing of the browser that asked for it.
    fn endpoint(
        &self,
        name: &str,
        query: &[(&str, String)],
        goal: &Goal,
    ) -> Result<String, SsoError> {
        let base = self.config.server_url.trim_end_matches('/');
        let mut url = Url::parse(&format!("{base}/{name}")).map_err(|_| SsoError::NoProvider)?;
        url.query_pairs_mut().extend_pairs(query);
        if matches!(goal, Goal::Confirm(_)) {
            url.query_pairs_mut().append_pair("renew", "true");
        }
        Ok(url.into())
    }

    pub(crate) async fn redeem(
        &self,
        http: &dyn Http,
        ticket: &str,
        goal: &Goal,
    ) -> Result<Person, SsoError> {
        let is_ticket = |byte: u8| byte.is_ascii_graphic();
        if !(1..=TICKET_CHARS_MAX).contains(&ticket.len()) || !ticket.bytes().all(is_ticket) {
            return Err(SsoError::InvalidProof("the ticket is malformed".to_owned()));
        }
        let query = [("ticket", ticket.to_owned()), ("service", self.service(goal)?)];
        let url = self.endpoint("proxyValidate", &query, goal)?;
        let answer = http.ask(Ask::get(url)).await.map_err(SsoError::Provider)?;
        if answer.status != 200 {
            return Err(SsoError::Provider(format!("the CAS server answered {}", answer.status)));
        }
        let text = std::str::from_utf8(&answer.body)
            .map_err(|_| SsoError::Provider("the CAS server's answer is no text".to_owned()))?;
        let found = read(text, self.config.display_name_attribute.as_deref())?;
        Ok(Person {
            subject: found.user.clone(),
            name: Some(found.user),
            display_name: found.display_name,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    user: String,
    display_name: Option<String>,
}

/// Reads a `serviceResponse`.
fn read(text: &str, display_name: Option<&str>) -> Result<Found, SsoError> {
    let broken = |error: String| SsoError::Provider(format!("the CAS server's answer: {error}"));
    let document = roxmltree::Document::parse(text).map_err(|error| broken(error.to_string()))?;
    let child = |of: roxmltree::Node<'_, '_>, name: &str| {
        of.children().find(|node| node.tag_name().name() == name).map(|node| node.id())
    };
    let node = |id| document.get_node(id);
    let root = document.root_element();
    if root.tag_name().name() != "serviceResponse" {
        return Err(broken("it is no serviceResponse".to_owned()));
    }
    let Some(success) = child(root, "authenticationSuccess").and_then(node) else {
        let failure = child(root, "authenticationFailure").and_then(node);
        let code = failure.and_then(|failure| failure.attribute("code")).unwrap_or_default();
        return Err(SsoError::InvalidProof(code.chars().take(64).collect()));
    };
    let text_of = |of, name: &str| {
        let text = child(of, name).and_then(node).and_then(|node| node.text())?.trim();
        (!text.is_empty() && text.len() <= USER_BYTES_MAX).then(|| text.to_owned())
    };
    let user = text_of(success, "user").ok_or_else(|| broken("it names no user".to_owned()))?;
    let attributes = child(success, "attributes").and_then(node);
    let display_name =
        attributes.zip(display_name).and_then(|(attributes, name)| text_of(attributes, name));
    Ok(Found { user, display_name })
}

#[cfg(test)]
mod tests {
    use super::read;

    const NS: &str = "xmlns:cas='http://www.yale.edu/tp/cas'";

    #[test]
    fn only_a_success_names_a_user() {
        let success = |inner: &str| {
            format!(
                "<cas:serviceResponse {NS}><cas:authenticationSuccess>{inner}\
                 </cas:authenticationSuccess></cas:serviceResponse>"
            )
        };
        let user = "<cas:user> ada </cas:user>";
        let named = format!(
            "{user}<cas:attributes><cas:mail>a@b</cas:mail><cas:cn>Ada</cas:cn></cas:attributes>"
        );
        let failure = format!(
            "<cas:serviceResponse {NS}><cas:authenticationFailure code='INVALID_TICKET'>\
             <cas:authenticationSuccess>{user}</cas:authenticationSuccess>\
             </cas:authenticationFailure></cas:serviceResponse>"
        );
        let bomb = format!("<!DOCTYPE x [<!ENTITY a 'ada'>]>{}", success("<user>&a;</user>"));
        for (row, text, expected) in [
            ("a user", success(user), Some(("ada", None))),
            ("a name", success(&named), Some(("ada", Some("Ada")))),
            ("escapes", success("<user>a&amp;b</user>"), Some(("a&b", None))),
            ("nobody", success("<user></user>"), None),
            ("no user", success("<proxy>ada</proxy>"), None),
            ("a comment", success("<!--<user>ada</user>-->"), None),
            ("too long", success(&format!("<user>{}</user>", "a".repeat(600))), None),
            ("a failure", failure, None),
            ("an entity", bomb, None),
            ("no XML", "yes\nada\n".to_owned(), None),
            (
                "something else",
                format!("<x><authenticationSuccess>{user}</authenticationSuccess></x>"),
                None,
            ),
        ] {
            let found = read(&text, Some("cn")).ok();
            let found = found.as_ref().map(|found| (&*found.user, found.display_name.as_deref()));
            assert_eq!(found, expected, "{row}");
        }
    }
}
