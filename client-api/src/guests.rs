//! What guests may do: look around, and what is listed as allowed besides ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#guest-access

use http::{Method, StatusCode};

use crate::error::Error;

/// Refuses a guest what only full accounts do. Reading is bounded by what each room shows.
pub(crate) fn permit(method: &Method, path: &str) -> Result<(), Error> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads || endpoint(path).is_some_and(|endpoint| is_listed(method, &endpoint)) {
        return Ok(());
    }
    Err(Error::new(
        StatusCode::FORBIDDEN,
        "M_GUEST_ACCESS_FORBIDDEN",
        "Guests may not do that: register an account first",
    ))
}

/// The segments of a path of the client-server API behind its version.
fn endpoint(path: &str) -> Option<Vec<&str>> {
    let (version, rest) = path.strip_prefix("/_matrix/client/")?.split_once('/')?;
    let segments = rest.split('/');
    let unstable = version == "unstable" && rest.contains('.');
    // An unstable endpoint has the name of its proposal in front.
    Some(segments.skip(usize::from(unstable)).collect())
}

/// The lists of the specification, and what a client cannot do without: filters, the room
/// directory, newer forms of sync, and the end of the account.
fn is_listed(method: &Method, endpoint: &[&str]) -> bool {
    match *method {
        Method::POST => matches!(
            endpoint,
            // MSC4140: "available to guest accounts", who are in calls too.
            ["delayed_events", ..]
                | ["rooms", _, "join" | "leave"]
                | ["rooms", _, "send", _]
                | ["join", _]
                | ["keys", "upload" | "query" | "claim"]
                | ["keys", "upload", _]
                | ["logout"]
                | ["logout", "all"]
                | ["account", "deactivate"]
                | ["user", _, "filter"]
                | ["publicRooms"]
                | ["sync"]
                | ["sync", "ws", "ticket"]
        ),
        Method::PUT => matches!(
            endpoint,
            ["rooms", _, "send" | "state" | "delayed_event", ..]
                | ["sendToDevice", _, _]
                | ["profile", _, "displayname"]
                | ["devices", _]
        ),
        Method::DELETE => matches!(endpoint, ["profile", _, "displayname"]),
        _ => false,
    }
}

/// As [`permit`], of a method of the WebSocket.
pub(crate) fn permit_call(method: &str) -> Result<(), Error> {
    match method {
        "typing" | "receipt" | "read_markers" | "presence" | "redact" => {
            permit(&Method::PUT, method)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::permit;

    #[test]
    fn the_version_of_an_endpoint_makes_no_difference() {
        for (method, path, allowed) in [
            (Method::GET, "/_matrix/client/v3/pushrules/", true),
            (Method::POST, "/_matrix/client/v3/keys/query", true),
            (Method::POST, "/_matrix/client/r0/keys/query", true),
            (Method::POST, "/_matrix/client/unstable/keys/query", true),
            (Method::POST, "/_matrix/client/v4/sync", true),
            (Method::POST, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", true),
            (Method::PUT, "/_matrix/client/v3/profile/@1:x.test/displayname", true),
            (Method::PUT, "/_matrix/client/v3/profile/@1:x.test/avatar_url", false),
            (Method::PUT, "/_matrix/client/v3/rooms/!r:x.test/state/m.room.name/", true),
            (Method::PUT, "/_matrix/client/v3/rooms/!r:x.test/redact/$e/1", false),
            (Method::POST, "/_matrix/client/v3/rooms/!r:x.test/invite", false),
            (Method::POST, "/_matrix/client/v3/createRoom", false),
            (Method::POST, "/_matrix/media/v3/upload", false),
            (Method::POST, "/", false),
        ] {
            assert_eq!(permit(&method, path).is_ok(), allowed, "{method} {path}");
        }
    }
}
