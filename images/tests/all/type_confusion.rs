//! Documents whose type depends on whom one asks, over the wire (threats I8).

use crate::kit::layout::{
    DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Packing, architecture, descriptor, tiny,
};
use crate::kit::server::{Answer, Server, honest};
use crate::kit::{is_root, open, pull, refusal};

#[tokio::test]
async fn a_document_is_one_thing_or_refused() {
    if !is_root("a_document_is_one_thing_or_refused") {
        return;
    }
    let image = tiny("x");
    let (config, layer) =
        (descriptor(OCI_CONFIG, &image.config), descriptor(Packing::Gzip.media_type(), &image.layers[0]));
    let body = |media_type: &str, more: &str| {
        let stated =
            if media_type.is_empty() { String::new() } else { format!(r#""mediaType":"{media_type}","#) };
        format!(r#"{{"schemaVersion":2,{stated}{more}"config":{config},"layers":[{layer}]}}"#)
    };
    let entry = descriptor(OCI_MANIFEST, &image.manifest);
    let index = |media_type: &str, more: &str| {
        let stated =
            if media_type.is_empty() { String::new() } else { format!(r#""mediaType":"{media_type}","#) };
        format!(r#"{{"schemaVersion":2,{stated}{more}"manifests":[{entry}]}}"#)
    };
    let both = format!(r#""manifests":[{entry}],"#);
    let cases: Vec<(&str, &str, String)> = vec![
        ("1 manifest as index", OCI_INDEX, body(OCI_MANIFEST, "")),
        ("2 index as manifest", OCI_MANIFEST, index(OCI_INDEX, "")),
        ("3 untyped manifest as index", OCI_INDEX, body("", "")),
        ("4 untyped index as manifest", OCI_MANIFEST, index("", "")),
        ("5 both, as manifest", OCI_MANIFEST, body(OCI_MANIFEST, &both)),
        ("6 both, as index", OCI_INDEX, body(OCI_INDEX, &both)),
        ("7 index with layers", OCI_INDEX, index(OCI_INDEX, &format!(r#""layers":[{layer}],"#))),
        ("8 Docker's as OCI's", OCI_MANIFEST, body(DOCKER_MANIFEST, "")),
        ("9 no type", "", body("", "")),
        ("10 a type of nobody", "text/html", body("", "")),
        (
            "11 schema 1",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion":1}"#.into(),
        ),
        ("12 keys in another case", OCI_MANIFEST, body(OCI_MANIFEST, r#""LAYERS":[],"#)),
        ("13 a key twice", OCI_MANIFEST, body(OCI_MANIFEST, &format!(r#""config":{config},"#))),
        ("14 a list where one manifest is", OCI_MANIFEST, format!("[{}]", body(OCI_MANIFEST, ""))),
    ];
    for (what, content_type, text) in cases {
        let served = image.clone();
        let (sent, content_type) = (text.clone(), content_type.to_owned());
        let server = Server::start(move |request| match request.path.ends_with("/manifests/latest") {
            true if content_type.is_empty() => Answer::new(200, sent.clone()),
            true => Answer::new(200, sent.clone()).header("Content-Type", content_type.clone()),
            false => honest(&served, request),
        });
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path()).await;
        let error = refusal(&store, &server.image("app")).await;
        assert!(error.contains("manifest") && error.contains("cannot pull"), "{what}: {error}");
        assert_eq!(server.count("/blobs/"), 0, "{what}: went on");
    }
}

#[tokio::test]
async fn an_index_and_what_it_leads_to_have_to_agree() {
    if !is_root("an_index_and_what_it_leads_to_have_to_agree") {
        return;
    }
    let image = tiny("x");
    let platform = format!(r#","platform":{{"os":"linux","architecture":"{}"}}}}"#, architecture());
    for (called, succeeds) in [(OCI_MANIFEST, true), (DOCKER_MANIFEST, false), (OCI_INDEX, false)] {
        let entry = descriptor(called, &image.manifest).replace('}', &platform);
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#);
        let served = image.clone();
        let server = Server::start(move |request| match request.path.ends_with("/manifests/latest") {
            true => Answer::new(200, index.clone()).header("Content-Type", OCI_INDEX),
            false => honest(&served, request),
        });
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path()).await;
        let outcome = pull(&store, &server.image("app")).await;
        assert_eq!(outcome.is_ok(), succeeds, "{called}: {outcome:?}");
    }
}
