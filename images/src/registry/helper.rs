//! Docker's credential helpers: `docker-credential-NAME get` with the registry on its standard input.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::docker_config::Credential;
use super::error::RegistryError;
use crate::reference::DEFAULT_REGISTRY;

/// Helpers of clouds ask servers of theirs.
const TIME: Duration = Duration::from_secs(30);
/// Tokens of clouds have a few KiB.
const OUTPUT_LARGEST: u64 = 64 << 10;
/// What every helper says when it knows no login; the exit status is 1 then, as for any failure.
const NOTHING_FOUND: &[u8] = b"credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// A name that stays one component of a file name.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 100 && name.bytes().all(allowed)
}

/// The helper's login for the registry, if it has one. What it says is never logged nor part of a message.
pub(super) async fn ask(name: &str, registry: &str) -> Result<Option<Credential>, RegistryError> {
    let refused =
        |program: String, why: String| RegistryError::Helper { registry: registry.to_owned(), program, why };
    if !is_name(name) {
        let why = "its name in the Docker configuration may have letters, digits, dots, dashes and underscores only";
        return Err(refused("docker-credential-…".into(), why.into()));
    }
    let program = format!("docker-credential-{name}");
    run(program.as_ref(), registry, TIME).await.map_err(|why| refused(program, why))
}

/// Runs one program; an error says what it did.
async fn run(program: &OsStr, registry: &str, time: Duration) -> Result<Option<Credential>, String> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // In a group of its own, so that whatever it starts ends with it.
    let mut child = command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it can't be started ({error}); is it in the PATH?"))?;
    let group = child.id();
    let outcome = tokio::time::timeout(time, converse(&mut child, registry)).await;
    let (success, output) = match outcome {
        Ok(Ok(said)) if said.1.len() as u64 <= OUTPUT_LARGEST => said,
        other => {
            end(group);
            return Err(match other {
                Err(_) => format!("it did not answer within {} s", time.as_secs_f32()),
                Ok(Err(error)) => format!("it could not be talked to ({error})"),
                Ok(Ok(_)) => format!("it says more than {OUTPUT_LARGEST} bytes"),
            });
        }
    };
    if !success {
        let nothing = output.windows(NOTHING_FOUND.len()).any(|part| part == NOTHING_FOUND);
        return if nothing { Ok(None) } else { Err("it failed; run it by hand to see why".into()) };
    }
    login_in(&output).map(Some).map_err(str::to_owned)
}

/// The login in what a helper says.
pub(super) fn login_in(output: &[u8]) -> Result<Credential, &'static str> {
    let answer: Answer =
        serde_json::from_slice(output).map_err(|_| "its answer is not JSON with Username and Secret")?;
    Ok(match answer.username.as_str() {
        // Docker's convention for an OAuth2 refresh token.
        "<token>" => Credential::identity_token(answer.secret),
        _ => Credential::login(answer.username, answer.secret),
    })
}

/// Whether it succeeded, and what it said.
async fn converse(child: &mut Child, registry: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let server = match registry {
        DEFAULT_REGISTRY => "https://index.docker.io/v1/",
        other => other,
    };
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(server.as_bytes()).await {
            // One that doesn't read has its reasons.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut output = Vec::new();
    if let Some(from) = child.stdout.take() {
        from.take(OUTPUT_LARGEST + 1).read_to_end(&mut output).await?;
    }
    if output.len() as u64 > OUTPUT_LARGEST {
        return Ok((true, output));
    }
    Ok((child.wait().await?.success(), output))
}

fn end(group: Option<u32>) {
    let group = group.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["ecr-login", "pass", "gcloud", "acr_env.v2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "../x", "a/b", "/bin/sh", "a b", "a\0", "a;b", "é"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    /// What a shell script as helper leads to.
    async fn scripted(script: &str) -> (Result<Option<Credential>, String>, tempfile::TempDir) {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("docker-credential-x");
        let text = format!("#!/bin/sh\ncd '{}'\n{script}\n", place.path().display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        (run(program.as_os_str(), "r.example:5000", Duration::from_secs(1)).await, place)
    }

    #[tokio::test]
    async fn helpers_are_asked_as_docker_does() {
        let answer = r#"echo '{"ServerURL":"x","Username":"u","Secret":"p"}'"#;
        let (found, place) = scripted(&format!(r#"echo "$1 $(cat)" > asked; {answer}"#)).await;
        assert_eq!(found, Ok(Some(Credential::login("u".into(), "p".into()))));
        assert_eq!(std::fs::read_to_string(place.path().join("asked")).unwrap(), "get r.example:5000\n");
        let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(scripted(token).await.0, Ok(Some(Credential::identity_token("t".into()))));
        let nothing = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(scripted(nothing).await.0, Ok(None));
        // One that doesn't read what it is told.
        assert!(scripted(&format!("exec <&-; {answer}")).await.0.unwrap().is_some());
    }

    #[tokio::test]
    async fn helpers_that_fail_cost_little_and_tell_nothing() {
        let hostile = [
            ("echo s3cret; exit 3", "it failed"),
            ("echo s3cret", "not JSON"),
            ("sleep 60 & echo $! > child; wait", "did not answer within 1 s"),
            ("while :; do echo s3cret; done", "says more than 65536 bytes"),
            ("kill -9 $$", "it failed"),
        ];
        for (script, expected) in hostile {
            let started = std::time::Instant::now();
            let (found, place) = scripted(script).await;
            let why = found.unwrap_err();
            assert!(why.contains(expected) && !why.contains("s3cret"), "{script}: {why}");
            assert!(started.elapsed() < Duration::from_secs(10), "{script}");
            if let Ok(child) = std::fs::read_to_string(place.path().join("child")) {
                let state =
                    || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
                let deadline = std::time::Instant::now() + Duration::from_secs(5);
                while !state().is_empty() && !state().contains(") Z ") {
                    assert!(std::time::Instant::now() < deadline, "what it started goes on");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        let missing = run("/nonexistent/docker-credential-x".as_ref(), "r", TIME).await.unwrap_err();
        assert!(missing.contains("can't be started"), "{missing}");
        let bad = ask("../evil", "r").await.unwrap_err().to_string();
        assert!(bad.contains("letters, digits") && !bad.contains("evil"), "{bad}");
    }
}
