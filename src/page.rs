//! The page at `/`: what a newcomer sees, and the reference client of the WebSocket protocol.

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// What is served: path, media type, text. The scripts are ES modules that load each other.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html", include_str!("page/index.html")),
    ("/page/style.css", "text/css", include_str!("page/style.css")),
    ("/page/app.js", "text/javascript", include_str!("page/app.js")),
    ("/page/dom.js", "text/javascript", include_str!("page/dom.js")),
    ("/page/matrix-http.js", "text/javascript", include_str!("page/matrix-http.js")),
    ("/page/meridian-ws.js", "text/javascript", include_str!("page/meridian-ws.js")),
    ("/page/panels.js", "text/javascript", include_str!("page/panels.js")),
    ("/page/rooms.js", "text/javascript", include_str!("page/rooms.js")),
    ("/page/sign-in.js", "text/javascript", include_str!("page/sign-in.js")),
    ("/page/timeline.js", "text/javascript", include_str!("page/timeline.js")),
];

pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        router.route(path, get(move || std::future::ready(file(kind, text))))
    })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY.to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    let headers: Vec<(HeaderName, HeaderValue)> = headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
        .collect();
    let mut response = text.into_response();
    for (name, value) in headers {
        // Not `extend`, which would add a second content type to that of the text.
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn everything_that_the_page_loads_is_served() {
        let mut loaded = 0;
        for (from, _, text) in FILES {
            for mark in ["from \"./", "=\"/page/"] {
                for rest in text.split(mark).skip(1) {
                    let path = format!("/page/{}", rest.split('"').next().unwrap_or_default());
                    assert!(
                        FILES.iter().any(|(served, ..)| *served == path),
                        "{from} loads {path}"
                    );
                    loaded += 1;
                }
            }
        }
        assert!(loaded >= FILES.len() - 1, "a file is served that nothing loads");
    }
}
