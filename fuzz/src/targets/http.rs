//! What comes with a request besides its body: headers, queries, paths.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serving::{jsonp, routes};
use wire::media;
use wire::query::{self, Query};
use wire::v1;

/// Lines of `number value`, then an empty line and a body.
pub(crate) fn headers(data: &[u8]) {
    let names: [HeaderName; 4] = [CONTENT_TYPE, ACCEPT, media::MESSAGE_CONTENT_TYPE, media::MESSAGE_ACCEPT];
    let mut headers = HeaderMap::new();
    let mut lines = data.splitn(9, |byte| *byte == b'\n');
    for line in lines.by_ref().take_while(|line| !line.is_empty()).take(8) {
        let Some((which, value)) = line.split_first() else { continue };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(names[usize::from(*which) % names.len()].clone(), value);
        }
    }
    let body = lines.next().unwrap_or_default();
    if let Ok(media) = media::content_type(&headers) {
        let _ = media::decode_body::<v1::scheduler::Call>(media, body);
    }
    let _ = media::agent_content_type(&headers);
    // Whoever asks for exactly what was agreed on gets the same.
    if let Ok(media) = media::accept(&headers) {
        assert_eq!(media::accept(&asking(media.content_type())), Ok(media));
    }
    for streaming in [false, true] {
        if let Ok(body) = media::agent_accept(&headers, streaming) {
            let mut same = asking(body.content_type());
            if let Some(kind) = body.message_content_type() {
                same.insert(media::MESSAGE_ACCEPT, HeaderValue::from_static(kind));
            }
            assert_eq!(media::agent_accept(&same, streaming), Ok(body));
        }
    }
}

fn asking(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(kind))])
}

/// A query, in a URL or in the body of a form.
pub(crate) fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = Query::parse(&text);
    for plus in [false, true] {
        let Some(decoded) = query::decode(&text, plus) else { continue };
        let written: String = decoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(query::decode(&written, plus).as_deref(), Some(decoded.as_str()));
        let pair = format!("a=0&name={written}");
        assert_eq!(Query::parse(&pair).get("name"), Some(decoded.as_str()));
    }
    if let Ok(Some(function)) = jsonp::function(&read) {
        let (_, body) = jsonp::body(Some(&function), b"{}".to_vec());
        assert!(body.starts_with(function.as_bytes()), "{function}");
        assert!(!body.contains(&b'<'), "no markup gets into a script: {function}");
    }
    let _ = serving::metrics::timeout(&read);
}

/// A request's path.
pub(crate) fn paths(data: &[u8]) {
    const ROUTES: &[(&str, u8)] = &[
        ("api/v1", 0),
        ("api/v1/scheduler", 1),
        ("files/read", 2),
        ("state", 3),
        ("state-summary", 4),
        ("health", 5),
        ("metrics/snapshot", 6),
        ("redirect", 7),
    ];
    let path = String::from_utf8_lossy(data);
    if let Ok(found) = routes::find(ROUTES, "slave(1)", &path) {
        assert!(ROUTES.iter().any(|(_, route)| *route == found.route));
        assert!(found.rest.len() <= data.len());
    }
}
