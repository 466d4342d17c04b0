//! What an operator's commands ask masters and agents, and how their answers are read.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use coordination::{BadWhereabouts, LeaderAddress, Whereabouts};
use http::HeaderValue;
use model::flags::{Flag, Form};
use sdk::http::{Ask, Http, HttpError};
use security::credentials::{Credential, read_one};
use security::tls;
use security::{ClientTls, TlsSettings};
use serde_json::Value;

use crate::context::{Trouble, failed, usage};
use crate::flags::Flags;

/// `--master` of every command that asks one.
pub const MASTER: Flag = Flag::new(
    "master",
    Form::Text,
    Some("127.0.0.1:5050"),
    "The master: host:port, or the ensemble that knows it: zk://host1:2181,…/path.",
);
/// How every command that asks a master reaches it.
pub const REACH: &[&[Flag]] = &[tls::flags::TLS, LOGIN];
/// Who asks. Files, because everybody sees the arguments of a process.
const LOGIN: &[Flag] = &[
    Flag::new(
        "credential",
        Form::Path,
        None,
        "File with a login: {\"principal\":...,\"secret\":...} or a line of both.",
    ),
    Flag::new("token_file", Form::Path, None, "File with a token, instead of a login."),
];
/// How long an ensemble is asked who leads.
const FINDING: Duration = Duration::from_secs(15);
/// `--json` of every command that prints a table.
pub const JSON: Flag = Flag::new("json", Form::Bool, Some("false"), "Print JSON instead of a table.");

/// Where the flags say that the master is.
///
/// # Errors
/// A text that names none.
pub fn master(flags: &Flags) -> Result<Whereabouts, Trouble> {
    let text = flags.values.text("master").unwrap_or("127.0.0.1:5050");
    // An ensemble's URL may hold a password.
    let shown = if text.starts_with("zk://") { "zk://…" } else { text };
    text.parse().map_err(|error: BadWhereabouts| usage(format!("--master={shown}: {error}")))
}

/// What masters and agents are asked through.
///
/// # Errors
/// Flags or files about TLS and logins that can't be used.
pub fn http(flags: &Flags) -> Result<Http, Trouble> {
    let tls = TlsSettings::from_flags(&flags.values)?.map(ClientTls::load).transpose().map_err(failed)?;
    let login = match (credential(flags)?, flags.values.path("token_file")) {
        (Some(_), Some(_)) => return Err(usage("--credential and --token_file: give one of them")),
        (Some(credential), None) => Some(credential.basic()),
        (None, Some(path)) => {
            let token = std::fs::read_to_string(&path);
            let token = token.with_context(|| format!("--token_file={}: can't be read", path.display()));
            Some(format!("Bearer {}", token.map_err(failed)?.trim()))
        }
        (None, None) => None,
    };
    let header = login.map(HeaderValue::try_from).transpose();
    let header = header.map_err(|_| usage("--token_file: there is no token in it"))?;
    Ok(Http::secured(tls, header))
}

/// The login that commands have.
///
/// # Errors
/// A file that can't be used.
pub fn credential(flags: &Flags) -> Result<Option<Credential>, Trouble> {
    let path = flags.values.path("credential");
    path.map(|path| read_one("credential", &path)).transpose().map_err(failed)
}

/// The master that leads now.
///
/// # Errors
/// An ensemble knows none.
pub async fn leader(of: &Whereabouts) -> anyhow::Result<LeaderAddress> {
    Ok(of.find(FINDING).await?)
}

/// Why nobody answered, and what to do about it.
pub fn no_master(master: &LeaderAddress, error: &HttpError) -> anyhow::Error {
    match error {
        HttpError::Connect { source, .. } => anyhow!(
            "no master at {master}: {source}; start one with `tepui master` or `tepui dev`, or name it with --master"
        ),
        other => anyhow!("the master at {master} does not answer: {}", sdk::scheduler::said(other)),
    }
}

/// GET of JSON from a master.
///
/// # Errors
/// No answer, a refusal, or an answer that is no JSON.
pub async fn get(http: &Http, master: &LeaderAddress, path: &str) -> anyhow::Result<Value> {
    let reply = http.ask(master, &Ask::get(path)).await.map_err(|error| no_master(master, &error))?;
    if !reply.status.is_success() {
        bail!("{path} at {}: {} {}", reply.from, reply.status, reply.message());
    }
    serde_json::from_slice(&reply.body).with_context(|| format!("{path} at {}: not JSON", reply.from))
}

/// A text field; empty when it isn't there.
pub fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A list field; empty when it isn't there.
pub fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Scalars of a resource summary, such as `cpus:4 mem:1024`; what is zero is left out.
pub fn resources(summary: Option<&Value>) -> String {
    let mut out = String::new();
    for (name, value) in summary.and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::Number(number) if number.as_f64() != Some(0.0) => {
                let _ = write!(out, "{name}:{} ", plain(number.as_f64().unwrap_or(0.0)));
            }
            Value::String(text) => {
                let _ = write!(out, "{name}:{text} ");
            }
            _ => {}
        }
    }
    out.trim_end().to_owned()
}

/// A number without a needless `.0`, at most three decimals.
pub fn plain(number: f64) -> String {
    format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value for a query, escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Where an agent answers: `slave(1)@ip:port`, or its host name and port.
pub fn agent_address(agent: &Value) -> anyhow::Result<LeaderAddress> {
    if let Some((_, address)) = text(agent, "pid").rsplit_once('@')
        && let Ok(address) = address.parse()
    {
        return Ok(address);
    }
    let port = agent.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let host = text(agent, "hostname").to_owned();
    match port {
        Some(port) if !host.is_empty() => Ok(LeaderAddress { host, port }),
        _ => bail!("the master tells no address of agent {}", text(agent, "id")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read() {
        let summary = json!({"cpus": 4.0, "mem": 1024.5, "gpus": 0, "ports": "[1-2]"});
        assert_eq!(resources(Some(&summary)), "cpus:4 mem:1024.5 ports:[1-2]");
        let agent = json!({"pid": "slave(1)@10.0.0.1:5051", "hostname": "h", "port": 1});
        assert_eq!(agent_address(&agent).unwrap().to_string(), "10.0.0.1:5051");
        let agent = json!({"hostname": "h", "port": 5051});
        assert_eq!(agent_address(&agent).unwrap().to_string(), "h:5051");
        assert!(agent_address(&json!({})).is_err());
        assert_eq!(escape("a b/ü&c=1"), "a%20b/%C3%BC%26c%3D1");
    }
}
