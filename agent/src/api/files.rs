//! `/files/*`: listing and reading the sandboxes of tasks.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::tree::{self, Entry, Place, TreeError};
use super::{Api, Body, Refusal, refuse};
use wire::query::Query;

/// Mesos: at most 16 pages a call.
pub(super) const MAX_READ: u64 = 16 * 4096;
/// Bytes of one part of a download.
const PART: usize = 64 << 10;

/// What was read of a file.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Where it begins.
    pub(super) offset: u64,
    /// Size of the whole file.
    pub(super) size: u64,
    /// The bytes.
    pub(super) data: Vec<u8>,
}

impl From<TreeError> for Refusal {
    fn from(error: TreeError) -> Refusal {
        let status = match &error {
            TreeError::Bad(_) => StatusCode::BAD_REQUEST,
            TreeError::Missing(_) => StatusCode::NOT_FOUND,
            TreeError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        refuse(status, &crate::chain(&error))
    }
}

async fn place(api: &Api, path: Option<&str>) -> Result<Place, Refusal> {
    let path = path.filter(|path| !path.is_empty());
    let path =
        path.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "Expecting 'path=value' in query.\n"))?.to_owned();
    let view = api.view().await?;
    let paths = api.paths.clone();
    Ok(api.blocking(move || tree::find(&tree::attached(&view, &paths), &path)).await??)
}

/// Entries of a folder.
pub(super) async fn list(api: &Api, path: &str) -> Result<Vec<Entry>, Refusal> {
    let place = place(api, Some(path)).await?;
    Ok(api.blocking(move || place.list()).await??)
}

/// Reads a part of a file; without an offset only its size is told.
pub(super) async fn chunk(
    api: &Api,
    path: Option<&str>,
    offset: Option<u64>,
    length: Option<u64>,
) -> Result<Chunk, Refusal> {
    let place = place(api, path).await?;
    Ok(api.blocking(move || read_chunk(&place, offset, length)).await??)
}

fn read_chunk(place: &Place, offset: Option<u64>, length: Option<u64>) -> Result<Chunk, TreeError> {
    let (mut file, size) = place.file()?;
    let Some(offset) = offset else { return Ok(Chunk { offset: size, size, data: Vec::new() }) };
    let mut data = Vec::new();
    if offset < size {
        let length = length.unwrap_or(MAX_READ).min(MAX_READ);
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(length).read_to_end(&mut data));
        read.map_err(|source| TreeError::Io { path: place.path.clone(), source })?;
    }
    Ok(Chunk { offset, size, data })
}

/// `/files/browse?path=`
pub(super) async fn browse(api: &Api, query: &Query) -> Result<Value, Refusal> {
    let place = place(api, query.get("path")).await?;
    let listed = api.blocking(move || {
        let names = Names::read();
        place.list().map(|entries| entries.iter().map(|entry| describe(entry, &names)).collect::<Vec<_>>())
    });
    Ok(Value::Array(listed.await??))
}

/// `/files/read?path=&offset=&length=`
pub(super) async fn read(api: &Api, query: &Query) -> Result<Value, Refusal> {
    let offset = number(query, "offset")?;
    let length = number(query, "length")?;
    let chunk = chunk(api, query.get("path"), offset, length).await?;
    Ok(json!({ "offset": chunk.offset, "data": text_of(chunk.data) }))
}

/// A number; -1 is as good as none.
fn number(query: &Query, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(value) if value >= 0 => Ok(u64::try_from(value).ok()),
        Ok(_) => Err(refuse(StatusCode::BAD_REQUEST, &format!("Negative {name} provided: {text}.\n"))),
        Err(_) => Err(refuse(StatusCode::BAD_REQUEST, &format!("Failed to parse {name}: '{text}'.\n"))),
    }
}

/// A part of a file as JSON text. A character that is cut at the end is left for the next call; what is no UTF-8 is
/// replaced.
fn text_of(mut data: Vec<u8>) -> String {
    if let Err(error) = std::str::from_utf8(&data)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        data.truncate(error.valid_up_to());
    }
    String::from_utf8_lossy(&data).into_owned()
}

/// `/files/debug`
pub(super) async fn debug(api: &Api) -> Result<Value, Refusal> {
    let view = api.view().await?;
    let attached = tree::attached(&view, &api.paths);
    Ok(attached.into_iter().map(|(path, real)| (path, Value::from(real.to_string_lossy()))).collect())
}

/// `/files/download?path=`
pub(super) async fn download(api: &Api, query: &Query) -> Result<Response<Body>, Refusal> {
    let place = place(api, query.get("path")).await?;
    let name = place.name();
    let (mut file, size) = api.blocking(move || place.file()).await??;
    let (parts, stream) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut left = size;
        while left > 0 {
            let mut part = vec![0; PART.min(usize::try_from(left).unwrap_or(PART))];
            let read = match file.read(&mut part) {
                // It was cut meanwhile.
                Ok(0) => return,
                Ok(read) => read,
                Err(error) => {
                    let _ = parts.blocking_send(Err(error));
                    return;
                }
            };
            part.truncate(read);
            left = left.saturating_sub(u64::try_from(read).unwrap_or(left));
            if parts.blocking_send(Ok(Frame::data(Bytes::from(part)))).is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(stream)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(type_of(&name)));
    let plain: String = name
        .chars()
        .map(|c| if c == '"' || c == '\\' || !(' '..='~').contains(&c) { '_' } else { c })
        .collect();
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{plain}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("txt" | "log") => "text/plain",
        Some("html" | "htm") => "text/html",
        Some("css") => "text/css",
        Some("js") => "application/javascript",
        Some("json") => "application/json",
        Some("xml") => "text/xml",
        Some("csv") => "text/csv",
        Some("png") => "image/png",
        Some("gif") => "image/gif",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        Some("pdf") => "application/pdf",
        Some("gz" | "tgz") => "application/gzip",
        Some("tar") => "application/x-tar",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

fn describe(entry: &Entry, names: &Names) -> Value {
    let stat = &entry.stat;
    json!({
        "path": entry.path,
        "nlink": stat.st_nlink,
        "size": stat.st_size,
        "mtime": stat.st_mtime,
        "mode": tree::mode_text(stat.st_mode),
        "uid": names.user(stat.st_uid),
        "gid": names.group(stat.st_gid),
    })
}

/// The host's names of users and groups.
#[derive(Debug, Default)]
pub(super) struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    /// Reads them; a host without such files has none.
    pub(super) fn read() -> Names {
        Names { users: names_in("/etc/passwd"), groups: names_in("/etc/group") }
    }

    /// The name of a user, or the number.
    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The name of a group, or the number.
    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

fn names_in(file: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        Some((id.parse().ok()?, name.to_owned()))
    });
    // The first line of an id counts.
    let mut names = BTreeMap::new();
    entries.for_each(|(id, name)| {
        names.entry(id).or_insert(name);
    });
    names
}
