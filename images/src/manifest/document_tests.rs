//! Type confusion and excess in manifests (threats I8 and I9).

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":5}}"#, "c".repeat(64))
}

fn manifest(extra: &str) -> String {
    let (config, layer) = (descriptor(CONFIG), descriptor(LAYER));
    format!(r#"{{"schemaVersion":2,{extra}"config":{config},"layers":[{layer}]}}"#)
}

fn index(extra: &str) -> String {
    format!(r#"{{"schemaVersion":2,{extra}"manifests":[{}]}}"#, descriptor(MANIFEST))
}

fn parse(body: &str, content_type: Option<&str>) -> Result<Document, ManifestError> {
    Document::parse(body.as_bytes(), content_type, &Limits::default())
}

fn typed(media_type: &str) -> String {
    format!(r#""mediaType":"{media_type}","#)
}

#[test]
fn plain_documents_are_read() {
    assert!(matches!(parse(&manifest(""), Some(MANIFEST)), Ok(Document::Manifest(_))));
    assert!(matches!(parse(&manifest(&typed(DOCKER)), Some(DOCKER)), Ok(Document::Manifest(_))));
    assert!(matches!(parse(&manifest(&typed(MANIFEST)), None), Ok(Document::Manifest(_))));
    let with_charset = format!("{INDEX}; charset=utf-8");
    assert!(matches!(parse(&index(&typed(INDEX)), Some(&with_charset)), Ok(Document::Index(_))));
    assert!(parse(&manifest(r#""annotations":{"a":"b"},"#), Some(MANIFEST)).is_ok());
}

#[test]
fn every_confusion_is_refused() {
    let (config, layer) = (descriptor(CONFIG), descriptor(LAYER));
    let both = format!(r#""manifests":[{}],"#, descriptor(MANIFEST));
    let cases: Vec<(&str, String, Option<&str>)> = vec![
        ("manifest sent as index", manifest(&typed(MANIFEST)), Some(INDEX)),
        ("index sent as manifest", index(&typed(INDEX)), Some(MANIFEST)),
        ("untyped index sent as manifest", index(""), Some(MANIFEST)),
        ("untyped manifest sent as index", manifest(""), Some(INDEX)),
        ("both lists, as manifest", manifest(&both), Some(MANIFEST)),
        ("both lists, as index", manifest(&both), Some(INDEX)),
        ("index with config", index(&format!(r#""config":{config},"#)), Some(INDEX)),
        ("index with layers", index(&format!(r#""layers":[{layer}],"#)), Some(INDEX)),
        ("Docker's sent as OCI's", manifest(&typed(DOCKER)), Some(MANIFEST)),
        ("no type anywhere", manifest(""), None),
        ("unknown type", manifest(""), Some("application/json")),
        ("schema 1", r#"{"schemaVersion":1,"fsLayers":[]}"#.into(), Some(MANIFEST)),
        ("schema 1 parts", manifest(r#""fsLayers":[],"#), Some(MANIFEST)),
        ("key in another case", manifest(r#""Layers":[],"#), Some(MANIFEST)),
        ("key twice", manifest(&format!(r#""layers":[{layer}],"#)), Some(MANIFEST)),
        ("type twice", manifest(&(typed(MANIFEST) + &typed(INDEX))), Some(MANIFEST)),
        (
            "artifact",
            manifest("").replace(CONFIG, "application/vnd.cncf.helm.config.v1+json"),
            Some(MANIFEST),
        ),
        ("unknown layer", manifest("").replace(LAYER, "application/vnd.wasm"), Some(MANIFEST)),
        ("negative size", manifest("").replace(":5", ":-5"), Some(MANIFEST)),
        ("digest as path", manifest("").replace("sha256:c", "sha256:/"), Some(MANIFEST)),
        ("not JSON", "<html>".into(), Some(MANIFEST)),
    ];
    for (what, body, content_type) in cases {
        assert!(parse(&body, content_type).is_err(), "{what} was taken");
    }
}

#[test]
fn schema_1_is_named() {
    let error = parse(r#"{"schemaVersion":1,"name":"a","tag":"b"}"#, None).unwrap_err();
    assert!(error.to_string().contains("schema version 1"), "{error}");
}

#[test]
fn counts_are_bounded() {
    let layers = vec![descriptor(LAYER); 1001].join(",");
    let body = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, descriptor(CONFIG));
    assert!(matches!(parse(&body, Some(MANIFEST)), Err(ManifestError::TooMany { count: 1001, .. })));
    let entries = vec![descriptor(MANIFEST); 1001].join(",");
    let body = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    assert!(matches!(parse(&body, Some(INDEX)), Err(ManifestError::TooMany { count: 1001, .. })));
    let deep = "[".repeat(100_000);
    assert!(parse(&deep, Some(INDEX)).is_err());
}
