//! Short answers that every server gives alike.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};

/// An answer without a body.
pub fn empty<B: From<Bytes>>(status: StatusCode) -> Response<B> {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = status;
    response
}

/// An answer of that type.
pub fn with_type<B: From<Bytes>>(
    status: StatusCode,
    content_type: &'static str,
    bytes: Bytes,
) -> Response<B> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A word for people.
pub fn text<B: From<Bytes>>(status: StatusCode, message: &str) -> Response<B> {
    with_type(status, "text/plain; charset=utf-8", message.to_owned().into())
}

/// 401, with what may be answered to it in `WWW-Authenticate`.
pub fn unauthorized<B: From<Bytes>>(message: &str, challenges: &str) -> Response<B> {
    let mut response = text(StatusCode::UNAUTHORIZED, message);
    if let Ok(challenges) = HeaderValue::try_from(challenges) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenges);
    }
    response
}

/// Lets POST through.
///
/// # Errors
/// 405, which names what is expected.
pub fn need_post<B: From<Bytes>>(method: &Method) -> Result<(), Box<Response<B>>> {
    if method == Method::POST {
        return Ok(());
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("Expecting POST, received '{method}'"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    Err(Box::new(response))
}
