//! As much of ZooKeeper's protocol as an operator's hand needs: nodes are listed, read and removed. And its servers' own
//! record of all that was ever written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Kinds of requests, and of what is written.
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const CREATE: i32 = 1;
const SET_DATA: i32 = 5;
const MULTI: i32 = 14;
const CREATE_2: i32 = 15;
const ERROR: i32 = -1;
const CLOSE: i32 = -11;
/// Magic, version and database of a file of transactions.
const FILE_HEAD: usize = 16;

/// A session with one server; ends when dropped.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    asked: i32,
}

impl Client {
    /// Opens one.
    ///
    /// # Errors
    /// The server doesn't answer in time, or serves nobody.
    pub fn connect(server: SocketAddr) -> io::Result<Client> {
        let socket = TcpStream::connect_timeout(&server, ANSWER)?;
        socket.set_read_timeout(Some(ANSWER))?;
        let mut client = Client { socket, asked: 0 };
        // Protocol, the newest write known, the time-out in ms, no former session and no password of one.
        let mut hello = [0i32.to_be_bytes().to_vec(), 0i64.to_be_bytes().to_vec()].concat();
        hello.extend([10_000i32.to_be_bytes().to_vec(), 0i64.to_be_bytes().to_vec()].concat());
        hello.extend([16i32.to_be_bytes().to_vec(), vec![0; 16]].concat());
        client.send(&hello)?;
        client.receive()?;
        Ok(client)
    }

    /// The names of the nodes below one.
    ///
    /// # Errors
    /// There is no such node, or the server doesn't answer.
    pub fn children(&mut self, path: &str) -> io::Result<Vec<String>> {
        let answer = self.ask(GET_CHILDREN, &[text(path), vec![0]].concat())?;
        let mut rest = Bytes(&answer);
        let count = rest.int().ok_or_else(bad)?;
        (0..count).map(|_| rest.text().map(str::to_owned).ok_or_else(bad)).collect()
    }

    /// A node's content.
    ///
    /// # Errors
    /// As [`Client::children`].
    pub fn content(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let answer = self.ask(GET_DATA, &[text(path), vec![0]].concat())?;
        Ok(Bytes(&answer).buffer().ok_or_else(bad)?.to_vec())
    }

    /// Removes a node.
    ///
    /// # Errors
    /// As [`Client::children`].
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        self.ask(DELETE, &[text(path), (-1i32).to_be_bytes().to_vec()].concat()).map(drop)
    }

    fn ask(&mut self, kind: i32, what: &[u8]) -> io::Result<Vec<u8>> {
        self.asked += 1;
        let head = [self.asked.to_be_bytes(), kind.to_be_bytes()].concat();
        self.send(&[&head, what].concat())?;
        let answer = self.receive()?;
        let mut rest = Bytes(&answer);
        let (_number, _zxid, error) = (rest.int(), rest.long(), rest.int().ok_or_else(bad)?);
        match error {
            0 => Ok(rest.0.to_vec()),
            error => Err(io::Error::other(format!("ZooKeeper's error {error}"))),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = i32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.socket.write_all(&[&length.to_be_bytes(), bytes].concat())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        let mut answer = vec![0; length];
        self.socket.read_exact(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It would end by itself, later.
        let _ = self.send(&[0i32.to_be_bytes(), CLOSE.to_be_bytes()].concat());
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = i32::try_from(text.len()).unwrap_or(0);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn bad() -> io::Error {
    io::Error::other("an answer that doesn't fit")
}

/// What a session tried to write, as the ensemble has ordered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its place among all.
    pub zxid: i64,
    /// Whose it is.
    pub session: i64,
    /// Contents that were written, by the paths of their nodes.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// It consists of several writes and was refused, so that none of them was done.
    pub refused: bool,
}

/// All transactions that a server with this data folder has on its disk, by their order. It may run.
///
/// # Errors
/// The folder can't be read.
pub fn transactions(data: &Path) -> io::Result<Vec<Transaction>> {
    let mut all = BTreeMap::new();
    let entries = fs::read_dir(data.join("version-2"))?.flatten().map(|entry| entry.path());
    let is_log =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log."));
    for file in entries.filter(is_log) {
        let bytes = fs::read(file)?;
        let mut rest = Bytes(bytes.get(FILE_HEAD..).unwrap_or_default());
        while let Some(transaction) = record(&mut rest) {
            all.insert(transaction.zxid, transaction);
        }
    }
    Ok(all.into_values().collect())
}

/// One of a file; none at its end, which is zeros.
fn record(rest: &mut Bytes<'_>) -> Option<Transaction> {
    let _sum = rest.long()?;
    let mut entry = Bytes(rest.buffer()?);
    let _end = rest.take(1)?;
    let (session, _number, zxid) = (entry.long()?, entry.int()?, entry.long()?);
    let (_time, kind) = (entry.long()?, entry.int()?);
    let mut transaction = Transaction { zxid, session, contents: BTreeMap::new(), refused: false };
    if kind == MULTI {
        let count = entry.int()?;
        for _ in 0..count {
            let (kind, part) = (entry.int()?, entry.buffer()?);
            transaction.refused |= kind == ERROR;
            transaction.contents.extend(written(kind, part));
        }
        if transaction.refused {
            transaction.contents.clear();
        }
    } else {
        transaction.contents.extend(written(kind, entry.0));
    }
    Some(transaction)
}

/// A node and its content, where that is what was written.
fn written(kind: i32, part: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut part = Bytes(part);
    let with_content = [CREATE, CREATE_2, SET_DATA].contains(&kind);
    let path = with_content.then(|| part.text())??.to_owned();
    Some((path, part.buffer()?.to_vec()))
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    /// Of no bytes is what has none, and where zeros are.
    fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()?.max(0)).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.buffer()?).ok()
    }
}
