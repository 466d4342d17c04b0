//! Logins and tokens: given to the registry that they are for, and to nobody else (threats I10).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use images::{DockerConfig, ImageStore, StoreConfig};

use crate::kit::layout::{Built, tiny};
use crate::kit::registry::Registry;
use crate::kit::server::{Answer, Request, Server, honest};
use crate::kit::{config, is_root, pull, refusal};

/// `user:s3cret`
const AUTH: &str = "dXNlcjpzM2NyZXQ=";
/// bcrypt of `s3cret`
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

async fn store_with(place: &std::path::Path, registry: &str, auth: &str) -> ImageStore {
    let text = format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#);
    let docker_config = Some(DockerConfig::parse(&text).unwrap());
    ImageStore::open(StoreConfig { docker_config, ..config(place) }).await.unwrap()
}

#[tokio::test]
async fn a_real_registry_takes_the_login() {
    if !is_root("a_real_registry_takes_the_login") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let passwords = place.path().join("htpasswd");
    std::fs::write(&passwords, HTPASSWD).unwrap();
    let registry =
        Registry::start_with(&format!("auth: {{htpasswd: {{realm: r, path: {}}}}}\n", passwords.display()));
    let (image, layout) = (tiny("secret"), tempfile::tempdir().unwrap());
    let media_type = crate::kit::layout::OCI_MANIFEST;
    crate::kit::layout::Blobs::of(&image).write(layout.path(), "t", media_type, &image.manifest);
    registry.push_layout(layout.path(), "t", "app:v1", &["--dest-creds=user:s3cret"]);

    let name = registry.image("app:v1");
    let store = store_with(&place.path().join("1"), &registry.address, AUTH).await;
    assert_eq!(pull(&store, &name).await.unwrap().manifest_digest, image.digest());
    let store = store_with(&place.path().join("2"), &registry.address, "dXNlcjp3cm9uZw==").await;
    let wrong = refusal(&store, &name).await;
    assert!(wrong.contains("refuses access to app (401)") && wrong.contains("is wrong"), "{wrong}");
    let store = store_with(&place.path().join("3"), "other.example", AUTH).await;
    let none = refusal(&store, &name).await;
    assert!(none.contains("no login") && none.contains("--docker_config"), "{none}");
}

#[tokio::test]
async fn each_repository_gets_the_login_of_its_own_path() {
    if !is_root("each_repository_gets_the_login_of_its_own_path") {
        return;
    }
    let image = tiny("x");
    let server = Server::start(move |request| match &request.authorization {
        None => Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="r""#),
        Some(_) => honest(&image, request),
    });
    let at = &server.address;
    // base64 of A:pa, B:pb and H:ph
    let text = format!(
        r#"{{"auths":{{"{at}/team-a":{{"auth":"QTpwYQ=="}},"{at}/team-b":{{"auth":"QjpwYg=="}},"http://{at}/v2/":{{"auth":"SDpwaA=="}}}}}}"#
    );
    let docker_config = Some(DockerConfig::parse(&text).unwrap());
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(StoreConfig { docker_config, ..config(place.path()) }).await.unwrap();
    for (repository, login) in [
        ("team-a/app", "QTpwYQ=="),
        ("team-b/app", "QjpwYg=="),
        ("other", "SDpwaA=="),
        ("team-a", "QTpwYQ=="),
    ] {
        pull(&store, &server.image(repository)).await.unwrap();
        let own = format!("/v2/{repository}/manifests/");
        let seen: Vec<String> = server
            .requests()
            .into_iter()
            .filter(|request| request.path.starts_with(&own))
            .filter_map(|request| request.authorization)
            .collect();
        assert_eq!(seen, [format!("Basic {login}")], "{repository}");
    }
}

/// A registry that wants a token of `realm`, and gives one itself at `/token`.
fn with_tokens(
    image: Built,
    realm: impl Fn(&Request) -> String + Send + Sync + 'static,
    expires: u64,
) -> Server {
    Server::start(move |request| {
        if request.path.starts_with("/token") {
            return Answer::new(200, format!(r#"{{"token":"t0ken","expires_in":{expires}}}"#));
        }
        if request.authorization.as_deref() == Some("Bearer t0ken") {
            return honest(&image, request);
        }
        let challenge =
            format!(r#"Bearer realm="{}",service="the service",scope="repository:x:push""#, realm(request));
        Answer::new(401, "").header("WWW-Authenticate", challenge)
    })
}

#[tokio::test]
async fn one_token_serves_all_layers_of_a_repository() {
    if !is_root("one_token_serves_all_layers_of_a_repository") {
        return;
    }
    let tars = (0..4).map(|n| {
        (
            crate::kit::tars::tar(&[crate::kit::tars::file(&format!("f{n}"), "x")]),
            crate::kit::layout::Packing::Gzip,
        )
    });
    let image = crate::kit::layout::build(&tars.collect::<Vec<_>>());
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let own = address.clone();
    let server = with_tokens(image, move |_| format!("http://{}/token", own.get().unwrap()), 300);
    address.set(server.address.clone()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let store = store_with(place.path(), &server.address, AUTH).await;
    pull(&store, &server.image("team/app")).await.unwrap();
    let tokens: Vec<Request> =
        server.requests().into_iter().filter(|r| r.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(tokens[0].path, "/token?service=the+service&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(tokens[0].authorization.as_deref(), Some(format!("Basic {AUTH}").as_str()));
    let refused =
        server.requests().iter().filter(|r| r.path.starts_with("/v2/") && r.authorization.is_none()).count();
    assert_eq!(refused, 1, "only the first request was sent without the token");
    assert!(
        server
            .requests()
            .iter()
            .all(|r| !r.path.starts_with("/v2/")
                || r.authorization.as_deref() != Some(&format!("Basic {AUTH}")))
    );
}

#[tokio::test]
async fn a_token_that_stopped_working_is_replaced_once() {
    if !is_root("a_token_that_stopped_working_is_replaced_once") {
        return;
    }
    let (image, issued) = (tiny("x"), Arc::new(AtomicUsize::new(0)));
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let (own, counter) = (address.clone(), issued.clone());
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return Answer::new(
                200,
                format!(r#"{{"access_token":"t{}"}}"#, counter.fetch_add(1, Ordering::Relaxed)),
            );
        }
        // The first token is good for the manifest only.
        let good = if request.path.contains("/manifests/") { "Bearer t0" } else { "Bearer t1" };
        if request.authorization.as_deref() == Some(good) {
            return honest(&image, request);
        }
        let realm = format!(r#"Bearer realm="http://{}/token""#, own.get().unwrap());
        Answer::new(401, "").header("WWW-Authenticate", realm)
    });
    address.set(server.address.clone()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let store = store_with(place.path(), "other.example", AUTH).await;
    pull(&store, &server.image("app")).await.unwrap();
    assert_eq!(issued.load(Ordering::Relaxed), 2);
    assert!(
        server.requests().iter().all(|r| !r
            .authorization
            .as_deref()
            .unwrap_or_default()
            .starts_with("Basic"))
    );
}

/// In every scenario a second server stands for the attacker; no login and no token may reach it.
#[tokio::test]
async fn no_credential_leaves_the_registry() {
    if !is_root("no_credential_leaves_the_registry") {
        return;
    }
    let image = tiny("x");
    let served = image.clone();
    let attacker = Server::start_on("127.0.0.2:0", move |request| match request.path.as_str() {
        path if path.contains("/token") => Answer::new(200, r#"{"token":"evil"}"#),
        "/want-login" => Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="r""#),
        _ => honest(&served, request),
    });
    let evil = attacker.address.clone();
    let https = "https://127.0.0.2/token".to_owned();
    let basic = r#"Basic realm="r""#.to_owned();
    let bearer = |realm: &str| format!(r#"Bearer realm="{realm}",service="s""#);
    type Scenario = (&'static str, String, fn(&Request, &str) -> Option<Answer>, bool);
    let nothing: fn(&Request, &str) -> Option<Answer> = |_, _| None;
    let scenarios: Vec<Scenario> = vec![
        ("token service on another host", bearer(&format!("http://{evil}/token")), nothing, false),
        ("token service on another host with TLS", bearer(&https), nothing, false),
        (
            "token service with the registry as user",
            bearer(&format!("http://127.0.0.1@{evil}/token")),
            nothing,
            false,
        ),
        ("token service of the cloud", bearer("http://169.254.169.254/token"), nothing, false),
        ("manifest redirected", basic.clone(), |r, evil| to_evil(r, evil, "/manifests/"), true),
        ("blobs redirected", basic.clone(), |r, evil| to_evil(r, evil, "/blobs/"), true),
        (
            "redirect to the cloud",
            basic.clone(),
            |r, _| redirected(r, "http://169.254.169.254/latest"),
            false,
        ),
        (
            "redirect with a login",
            basic.clone(),
            |r, evil| redirected(r, &format!("http://a:b@{evil}/x")),
            false,
        ),
        ("redirect to a file", basic.clone(), |r, _| redirected(r, "file:///etc/passwd"), false),
        ("redirected forever", basic.clone(), |r, _| redirected(r, &r.path), false),
        (
            "login wanted where it redirects",
            basic,
            |r, evil| redirected(r, &format!("http://{evil}/want-login")),
            false,
        ),
    ];
    for (what, challenge, answer, succeeds) in scenarios {
        let (served, evil) = (image.clone(), evil.clone());
        let server = Server::start(move |request| {
            if request.authorization.is_none() {
                return Answer::new(401, "").header("WWW-Authenticate", challenge.clone());
            }
            answer(request, &evil).unwrap_or_else(|| honest(&served, request))
        });
        let place = tempfile::tempdir().unwrap();
        let store = store_with(place.path(), &server.address, AUTH).await;
        let outcome = pull(&store, &server.image("app")).await;
        assert_eq!(outcome.is_ok(), succeeds, "{what}: {outcome:?}");
    }
    let leaked: Vec<_> = attacker.requests().into_iter().filter(|r| r.authorization.is_some()).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(attacker.count("/token") == 0, "the attacker's token service was asked");
    assert!(
        attacker.count("/manifests/") > 0 && attacker.count("/blobs/") > 0,
        "redirects were followed at all"
    );
}

fn to_evil(request: &Request, evil: &str, part: &str) -> Option<Answer> {
    request.path.contains(part).then(|| Answer::redirect(format!("http://{evil}{}", request.path)))
}

fn redirected(request: &Request, to: &str) -> Option<Answer> {
    request.path.contains("/manifests/").then(|| Answer::redirect(to))
}

#[tokio::test]
async fn identity_tokens_are_exchanged_and_registry_tokens_given_as_they_are() {
    if !is_root("identity_tokens_are_exchanged_and_registry_tokens_given_as_they_are") {
        return;
    }
    let image = tiny("x");
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let own = address.clone();
    let server = Server::start(move |request| {
        if request.path == "/token" {
            let right = request.body.split('&').any(|pair| pair == "refresh_token=id%26entity")
                && request
                    .body
                    .starts_with("service=s&scope=repository%3Aapp%3Apull&grant_type=refresh_token");
            return if right {
                Answer::new(200, r#"{"access_token":"t0ken"}"#)
            } else {
                Answer::new(400, "")
            };
        }
        match request.authorization.as_deref() {
            Some("Bearer t0ken" | "Bearer re6istry") => honest(&image, request),
            _ => {
                let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, own.get().unwrap());
                Answer::new(401, "").header("WWW-Authenticate", realm)
            }
        }
    });
    address.set(server.address.clone()).unwrap();
    for entry in [r#""identitytoken":"id&entity""#, r#""registrytoken":"re6istry""#] {
        let place = tempfile::tempdir().unwrap();
        let text = format!(r#"{{"auths":{{"{}":{{{entry}}}}}}}"#, server.address);
        let docker_config = Some(DockerConfig::parse(&text).unwrap());
        let store = ImageStore::open(StoreConfig { docker_config, ..config(place.path()) }).await.unwrap();
        pull(&store, &server.image("app")).await.unwrap();
    }
    assert_eq!(server.count("/token"), 1);

    let basic = Server::start(|_| Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="r""#));
    let place = tempfile::tempdir().unwrap();
    let text = format!(r#"{{"auths":{{"{}":{{"identitytoken":"x"}}}}}}"#, basic.address);
    let docker_config = Some(DockerConfig::parse(&text).unwrap());
    let store = ImageStore::open(StoreConfig { docker_config, ..config(place.path()) }).await.unwrap();
    let error = refusal(&store, &basic.image("app")).await;
    assert!(error.contains("identity token") && error.contains("\"auth\""), "{error}");
}
