//! What is around every endpoint: a panic becomes an answer, and pages of any origin may ask.
//!
//! One layer by hand: each layer of a router is a service to clone and a future to box for every
//! request, and most requests have little else to do.

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, ready},
    panic::AssertUnwindSafe,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::Request,
    response::Response,
    routing::{Route, future::RouteFuture},
};
use futures_util::{
    FutureExt as _,
    future::{CatchUnwind, Either, Map},
};
use http::{HeaderValue, Method, header};
use tower::{Layer, Service};

use crate::error::panicked;

const ANYBODY: HeaderValue = HeaderValue::from_static("*");
/// "Servers MUST expect that clients will approach them with OPTIONS requests" (section "Web
/// Browser Clients").
const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS");
const HEADERS: HeaderValue =
    HeaderValue::from_static("x-requested-with,content-type,authorization");

#[derive(Clone, Copy, Debug)]
pub(super) struct Around;

#[derive(Clone, Debug)]
pub(super) struct Endpoint(Route);

impl Layer<Route> for Around {
    type Service = Endpoint;

    fn layer(&self, route: Route) -> Endpoint {
        Endpoint(route)
    }
}

type Answer = Result<Response, Infallible>;
type Caught = Result<Answer, Box<dyn Any + Send>>;
type Answering = Map<CatchUnwind<AssertUnwindSafe<RouteFuture<Infallible>>>, fn(Caught) -> Answer>;

impl Service<Request> for Endpoint {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, Answering>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == Method::OPTIONS {
            return Either::Left(ready(Ok(permission())));
        }
        let answering = AssertUnwindSafe(self.0.call(request)).catch_unwind();
        Either::Right(answering.map(finish as fn(Caught) -> Answer))
    }
}

/// What a browser is told before it sends a request of a page.
fn permission() -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    response
}

fn finish(caught: Caught) -> Answer {
    let mut response = match caught {
        Ok(Ok(response)) => response,
        Err(_panic) => panicked(),
    };
    // No cookies are used, so any origin may ask; and as that holds for all, no answer varies.
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, extract::Request, routing::get};
    use http::{StatusCode, header};
    use tower::ServiceExt as _;

    use super::Around;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_any_page_may_read() {
        async fn fail() -> StatusCode {
            panic!("a fault of ours")
        }
        let router: Router = Router::new().route("/", get(fail)).layer(Around);
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let Ok(answer) = router.oneshot(request).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.expect("a body");
        assert!(body.windows(9).any(|text| text == b"M_UNKNOWN"), "{body:?}");
    }
}
