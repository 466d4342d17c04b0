//! Logins that a pull brings itself, and credential helpers (threats I10, I11).

use std::path::Path;
use std::sync::Arc;

use images::{DockerConfig, Image, ImageStore, NoProgress, PullError, PullOptions, StoreConfig};

use crate::kit::layout::{Built, tiny};
use crate::kit::server::{Answer, Server, honest};
use crate::kit::{again, config, is_root, must_say, pull, refusal};

/// base64 of a:a and b:b
const A: &str = "YTph";
const B: &str = "Yjpi";

/// A registry that lets these logins in.
fn guarded(image: Built, logins: &'static [&'static str]) -> Server {
    Server::start(move |request| {
        match request.authorization.as_deref().and_then(|h| h.strip_prefix("Basic ")) {
            Some(login) if logins.contains(&login) => honest(&image, request),
            _ => Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="r""#),
        }
    })
}

fn login(server: &Server, auth: &str) -> DockerConfig {
    DockerConfig::parse(&format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, server.address)).unwrap()
}

async fn pull_as(
    store: &ImageStore,
    server: &Server,
    secret: Option<DockerConfig>,
) -> Result<Image, PullError> {
    let name = store.name(&server.image("team/app:v1")).unwrap();
    store.pull(&name, PullOptions { secret, ..PullOptions::default() }, Arc::new(NoProgress)).await
}

async fn open(place: &Path, docker_config: Option<DockerConfig>) -> ImageStore {
    ImageStore::open(StoreConfig { docker_config, ..config(place) }).await.unwrap()
}

#[tokio::test]
async fn a_private_image_in_the_store_is_for_those_who_may_have_it() {
    if !is_root("a_private_image_in_the_store_is_for_those_who_may_have_it") {
        return;
    }
    let (image, place) = (tiny("private"), tempfile::tempdir().unwrap());
    let server = guarded(image.clone(), &[A]);
    let store = open(place.path(), None).await;
    pull_as(&store, &server, Some(login(&server, A))).await.unwrap();
    let asked = server.requests().len();
    // The same login again: no request.
    pull_as(&store, &server, Some(login(&server, A))).await.unwrap();
    assert_eq!(server.requests().len(), asked);
    // Nobody, and somebody else.
    for other in [None, Some(login(&server, B)), Some(DockerConfig::default())] {
        let refused = pull_as(&store, &server, other).await.unwrap_err().report();
        assert!(refused.contains("refuses access to team/app (401)"), "{refused}");
    }
    assert!(server.requests().len() > asked, "the registry itself decides");
    let by_digest = store.name(&server.image(&format!("team/app@{}", image.digest()))).unwrap();
    let sideways = store.pull(&by_digest, PullOptions::default(), Arc::new(NoProgress)).await;
    assert!(sideways.is_err(), "another name of the same image is open");
    assert!(store.cached(&by_digest).unwrap().is_none());
    assert!(store.inspect(&store.name(&server.image("team/app:v1")).unwrap()).unwrap().is_private);
    // After a restart, too.
    drop(store);
    let store = open(place.path(), None).await;
    pull_as(&store, &server, None).await.unwrap_err();
    let before = server.requests().len();
    pull_as(&store, &server, Some(login(&server, A))).await.unwrap();
    assert_eq!(server.requests().len(), before, "whoever was let in once need not ask again");
    let text = std::fs::read_dir(place.path().join("names")).unwrap().flatten();
    let kept: String = text.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
    assert!(!kept.contains(A) && !kept.contains("\"a\""), "a login is kept: {kept}");
}

#[tokio::test]
async fn pulls_with_different_logins_at_the_same_time_are_different_pulls() {
    if !is_root("pulls_with_different_logins_at_the_same_time_are_different_pulls") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let server = guarded(tiny("private"), &[A, B]);
    let store = open(place.path(), None).await;
    let (a, b, nobody) = tokio::join!(
        pull_as(&store, &server, Some(login(&server, A))),
        pull_as(&store, &server, Some(login(&server, B))),
        pull_as(&store, &server, None)
    );
    assert!(a.is_ok() && b.is_ok() && nobody.is_err(), "{nobody:?}");
    // Both are remembered.
    let before = server.requests().len();
    for auth in [A, B] {
        pull_as(&store, &server, Some(login(&server, auth))).await.unwrap();
    }
    assert_eq!(server.requests().len(), before);
}

#[tokio::test]
async fn a_pull_s_own_login_wins_and_the_operator_s_is_for_everybody() {
    if !is_root("a_pull_s_own_login_wins_and_the_operator_s_is_for_everybody") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let server = guarded(tiny("private"), &[A]);
    let store = open(&place.path().join("1"), Some(login(&server, B))).await;
    pull_as(&store, &server, None).await.unwrap_err();
    pull_as(&store, &server, Some(login(&server, A))).await.unwrap();
    // A secret that names another registry leaves the operator's login in place.
    let store = open(&place.path().join("2"), Some(login(&server, A))).await;
    let elsewhere = DockerConfig::parse(r#"{"auths":{"other.example":{"auth":"Yjpi"}}}"#).unwrap();
    pull_as(&store, &server, Some(elsewhere)).await.unwrap();
    let before = server.requests().len();
    pull_as(&store, &server, None).await.unwrap();
    assert_eq!(server.requests().len(), before, "what the operator's login gave is for all tasks");
    // A wrong secret is not made good by the operator's login.
    let store = open(&place.path().join("3"), Some(login(&server, A))).await;
    let error = pull_as(&store, &server, Some(login(&server, B))).await.unwrap_err().report();
    assert!(error.contains("in the secret of this pull is wrong"), "{error}");
}

/// Not a test of its own: runs where the helpers are in the PATH.
#[tokio::test]
async fn child() {
    let Ok(registry) = std::env::var("HELPED_REGISTRY") else { return };
    let parse = |text: &str| DockerConfig::parse(&text.replace("REGISTRY", &registry)).unwrap();
    let image = format!("{registry}/team/app:v1");
    let place = tempfile::tempdir().unwrap();
    for (what, text) in [
        ("credHelpers", r#"{"credHelpers":{"REGISTRY":"good"}}"#),
        ("credsStore", r#"{"credsStore":"good"}"#),
        ("own before all", r#"{"credHelpers":{"REGISTRY":"good"},"credsStore":"bad"}"#),
        ("helper before text", r#"{"credsStore":"good","auths":{"REGISTRY":{"auth":"Yjpi"}}}"#),
        (
            "text when the store knows nothing",
            r#"{"credsStore":"empty","auths":{"REGISTRY":{"auth":"YTph"}}}"#,
        ),
        ("text when the store fails", r#"{"credsStore":"bad","auths":{"REGISTRY":{"auth":"YTph"}}}"#),
    ] {
        let store = open(&place.path().join(what), Some(parse(text))).await;
        pull(&store, &image).await.unwrap_or_else(|e| panic!("{what}: {}", e.report()));
    }
    for (what, text, expected) in [
        ("fails", r#"{"credHelpers":{"REGISTRY":"bad"}}"#, "docker-credential-bad gives no login"),
        ("knows nothing", r#"{"credsStore":"empty"}"#, "docker-credential-empty knows no login"),
        ("missing", r#"{"credsStore":"nowhere"}"#, "can't be started"),
        ("leads away", r#"{"credsStore":"../good"}"#, "letters, digits"),
    ] {
        let store = open(&place.path().join(what), Some(parse(text))).await;
        let error = refusal(&store, &image).await;
        assert!(error.contains(expected) && !error.contains("s3cret"), "{what}: {error}");
    }
    // Whoever starts a task must not start programs here.
    let store = open(&place.path().join("secret"), None).await;
    let secret = Some(parse(r#"{"credHelpers":{"REGISTRY":"canary"},"credsStore":"canary"}"#));
    let name = store.name(&image).unwrap();
    let options = PullOptions { secret, ..PullOptions::default() };
    store.pull(&name, options, Arc::new(NoProgress)).await.unwrap_err();
    println!("HELPED");
}

#[test]
fn credential_helpers_are_run_for_the_operator_only() {
    if !is_root("credential_helpers_are_run_for_the_operator_only") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let server = guarded(tiny("x"), &[A]);
    let helper = |name: &str, script: &str| {
        let path = place.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let asked = format!(r#"[ "$1 $(cat)" = "get {}" ] || exit 9"#, server.address);
    helper("good", &format!(r#"{asked}; echo '{{"Username":"a","Secret":"a"}}'"#));
    helper("bad", "echo s3cret; echo s3cret >&2; exit 2");
    helper("empty", "echo 'credentials not found in native keychain'; exit 1");
    helper("canary", &format!("touch {}/ran", place.path().display()));
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let environment = [("HELPED_REGISTRY", server.address.as_str()), ("PATH", &path)];
    must_say(again("secrets::child", None, &environment), "HELPED");
    assert!(!place.path().join("ran").exists(), "a pull's secret started a program");
}
