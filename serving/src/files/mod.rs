//! Files told over HTTP: `/files/browse`, `/files/read`, `/files/download`, `/files/debug`, LIST_FILES and READ_FILE.
//!
//! All but [`download`] block: call them on a thread that may.

mod names;
mod place;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::query::Query;
use wire::v1;

pub use names::Names;
pub use place::{Attached, Entry, FilesError, Place, find, mode_text};

/// Bytes of one call. Mesos: at most 16 pages.
pub const MAX_READ: u64 = 16 * 4096;
/// Bytes of one part of a download.
const PART: usize = 64 << 10;
/// A client that takes no part of its download for this long is cut. Until then it costs a few parts and no thread.
const STALLED: Duration = Duration::from_secs(30);

/// What was read of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins.
    pub offset: u64,
    /// Size of the whole file.
    pub size: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Place {
    /// Reads a part of the file; without an offset only its size is told, which is how Mesos' page finds the end.
    ///
    /// # Errors
    /// It is no file that can be read.
    pub fn chunk(&self, offset: Option<u64>, length: Option<u64>) -> Result<Chunk, FilesError> {
        let (mut file, size) = self.file()?;
        let Some(offset) = offset else { return Ok(Chunk { offset: size, size, data: Vec::new() }) };
        let mut data = Vec::new();
        if offset < size {
            let length = length.unwrap_or(MAX_READ).min(MAX_READ);
            let read =
                file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(length).read_to_end(&mut data));
            read.map_err(|source| FilesError::Io { path: self.path.clone(), source })?;
        }
        Ok(Chunk { offset, size, data })
    }
}

fn place(attached: &Attached, query: &Query) -> Result<Place, FilesError> {
    match query.get("path").filter(|path| !path.is_empty()) {
        Some(path) => find(attached, path),
        None => Err(FilesError::Bad("Expecting 'path=value' in query.\n".to_owned())),
    }
}

/// `/files/browse?path=`
///
/// # Errors
/// 400, 404 or 500, as [`FilesError::status`] says; so for all here.
pub fn browse(attached: &Attached, query: &Query) -> Result<Value, FilesError> {
    let (entries, names) = (place(attached, query)?.list()?, Names::read());
    Ok(entries.iter().map(|entry| described(entry, &names)).collect())
}

fn described(entry: &Entry, names: &Names) -> Value {
    let stat = &entry.stat;
    json!({
        "path": entry.path,
        "nlink": stat.st_nlink,
        "size": stat.st_size,
        "mtime": stat.st_mtime,
        "mode": mode_text(stat.st_mode),
        "uid": names.user(stat.st_uid),
        "gid": names.group(stat.st_gid),
    })
}

/// `/files/read?path=&offset=&length=`
///
/// # Errors
/// See [`browse`].
pub fn read(attached: &Attached, query: &Query) -> Result<Value, FilesError> {
    let (offset, length) = (number(query, "offset")?, number(query, "length")?);
    let chunk = place(attached, query)?.chunk(offset, length)?;
    Ok(json!({ "offset": chunk.offset, "data": text_of(chunk.data) }))
}

/// A number; -1 is as good as none.
fn number(query: &Query, name: &str) -> Result<Option<u64>, FilesError> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(value) if value >= 0 => Ok(u64::try_from(value).ok()),
        Ok(_) => Err(FilesError::Bad(format!("Negative {name} provided: {text}.\n"))),
        Err(_) => Err(FilesError::Bad(format!("Failed to parse {name}: '{}'.\n", text.escape_default()))),
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
pub fn debug(attached: &Attached) -> Value {
    attached.iter().map(|(path, real)| (path.clone(), Value::from(real.to_string_lossy()))).collect()
}

/// LIST_FILES
///
/// # Errors
/// See [`browse`].
pub fn list_files(attached: &Attached, path: &str) -> Result<Vec<v1::FileInfo>, FilesError> {
    let (entries, names) = (find(attached, path)?.list()?, Names::read());
    let info = |entry: Entry| {
        let stat = &entry.stat;
        v1::FileInfo {
            nlink: i32::try_from(stat.st_nlink).ok(),
            size: u64::try_from(stat.st_size).ok(),
            mtime: Some(v1::TimeInfo { nanoseconds: stat.st_mtime.saturating_mul(1_000_000_000) }),
            mode: Some(stat.st_mode),
            uid: Some(names.user(stat.st_uid)),
            gid: Some(names.group(stat.st_gid)),
            path: entry.path,
        }
    };
    Ok(entries.into_iter().map(info).collect())
}

/// READ_FILE
///
/// # Errors
/// See [`browse`].
pub fn read_file(
    attached: &Attached,
    path: &str,
    offset: u64,
    length: Option<u64>,
) -> Result<Chunk, FilesError> {
    find(attached, path)?.chunk(Some(offset), length)
}

/// A file on its way to the client.
#[derive(Debug)]
pub struct Download {
    /// By the ending of its name.
    pub content_type: &'static str,
    /// Value of Content-Disposition, a valid header.
    pub disposition: String,
    /// Its bytes, in parts.
    pub parts: mpsc::Receiver<io::Result<Vec<u8>>>,
}

/// `/files/download?path=`: opens the file and reads it as fast as the client takes it. `cut` must end the client's
/// connection: a download that is given up must not look like a whole one.
///
/// # Errors
/// See [`browse`].
pub async fn download(
    attached: Attached,
    query: Query,
    cut: impl FnOnce() + Send + 'static,
) -> Result<Download, FilesError> {
    let opening = tokio::task::spawn_blocking(move || {
        let place = place(&attached, &query)?;
        place.file().map(|(file, size)| (file, size, place.name()))
    });
    let opened = opening.await.unwrap_or_else(|_| Err(FilesError::Bad("The file can't be read".to_owned())));
    let (file, size, name) = opened?;
    let (sender, parts) = mpsc::channel(1);
    tokio::spawn(send(file, size, sender, STALLED, cut));
    let plain = |c: char| if c == '"' || c == '\\' || !(' '..='~').contains(&c) { '_' } else { c };
    let disposition = format!("attachment; filename=\"{}\"", name.chars().map(plain).collect::<String>());
    Ok(Download { content_type: type_of(&name), disposition, parts })
}

/// Reads a part whenever there is room for one. No thread waits for the client: there are only so many of them.
async fn send(
    file: File,
    mut left: u64,
    parts: mpsc::Sender<io::Result<Vec<u8>>>,
    patience: Duration,
    cut: impl FnOnce(),
) {
    let file = Arc::new(file);
    while left > 0 {
        let room = match tokio::time::timeout(patience, parts.reserve()).await {
            Ok(Ok(room)) => room,
            // The client has left.
            Ok(Err(_)) => return,
            Err(_) => {
                cut();
                return parts.closed().await;
            }
        };
        let (file, length) = (file.clone(), PART.min(usize::try_from(left).unwrap_or(PART)));
        // The server ends when this does not.
        let Ok(part) = tokio::task::spawn_blocking(move || read_part(&file, length)).await else { return };
        let read = part.as_ref().map_or(0, Vec::len);
        left = left.saturating_sub(u64::try_from(read).unwrap_or(left));
        match part {
            // It was cut meanwhile.
            Ok(part) if part.is_empty() => return,
            Ok(part) => room.send(Ok(part)),
            Err(error) => return room.send(Err(error)),
        }
    }
}

fn read_part(mut file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut part = vec![0; length];
    let read = file.read(&mut part)?;
    part.truncate(read);
    Ok(part)
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

#[cfg(test)]
mod tests;
