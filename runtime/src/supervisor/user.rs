//! Who the command runs as: names looked up in the container's own files, which are as hostile as
//! the image they come from. Never through the C library, whose lookups load modules.
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use crate::ending::{Failure, FailureKind, Stage};
use crate::plan::Identity;

/// Longest user database that is read.
const MAX_FILE: u64 = 1 << 20;

/// Most supplementary groups; Linux allows 65536, far more than anyone lists.
const MAX_GROUPS: usize = 1024;

/// The one uid and gid that means "leave unchanged" to the kernel.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// Resolves `name`, `uid`, `name:group` or `uid:gid` below the root filesystem `root`.
pub(crate) fn resolve(root: BorrowedFd<'_>, wanted: Option<&str>) -> Result<Identity, Failure> {
    let Some(wanted) = wanted else {
        return Ok(Identity { groups: vec![0], home: "/root".to_owned(), ..Identity::default() });
    };
    let passwd = read(root, "etc/passwd").map_err(|error| unreadable(wanted, "/etc/passwd", &error))?;
    let group = read(root, "etc/group").map_err(|error| unreadable(wanted, "/etc/group", &error))?;
    look_up(wanted, &passwd, &group).map_err(|why| refused(wanted, why))
}

/// Who that is by the two files.
pub(crate) fn look_up(wanted: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let wish = Wish::parse(wanted)?;
    let user = find_user(passwd, &wish.user)?;
    let gid = match &wish.group {
        Some(group_wish) => find_group(group, group_wish)?,
        None => user.gid,
    };
    // The group itself is among the supplementary ones, so that these are never empty: else the
    // caller's would be kept, and a file that denies the group would admit who changed his own.
    let mut groups = vec![gid];
    if let (None, Some(name)) = (&wish.group, &user.name) {
        groups.extend(memberships(group, name).into_iter().filter(|other| *other != gid));
    }
    Ok(Identity { uid: user.uid, gid, groups, home: user.home })
}

fn refused(wanted: &str, why: String) -> Failure {
    let wanted: String = wanted.chars().take(80).collect();
    Failure::new(Stage::User, FailureKind::User, format!("can't run as user {wanted:?}: {why}"))
}

fn unreadable(wanted: &str, path: &str, error: &io::Error) -> Failure {
    refused(wanted, format!("the container's {path} can't be used: {error}"))
}

#[derive(Debug, PartialEq, Eq)]
enum Who {
    Number(u32),
    Name(String),
}

impl Who {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name or number is missing; write NAME, UID, NAME:GROUP or UID:GID".to_owned());
        }
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        let canonical = text == "0" || !text.starts_with('0');
        match text.parse() {
            Ok(number) if canonical && number != NOBODY_AT_ALL => Ok(Self::Number(number)),
            _ => Err(format!("it holds digits that are not a number from 0 to {}", NOBODY_AT_ALL - 1)),
        }
    }
}

struct Wish {
    user: Who,
    group: Option<Who>,
}

impl Wish {
    fn parse(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if group.is_some_and(|group| group.contains(':')) {
            return Err("there is more than one colon; write NAME:GROUP or UID:GID".to_owned());
        }
        Ok(Self { user: Who::parse(user)?, group: group.map(Who::parse).transpose()? })
    }
}

struct User {
    name: Option<String>,
    uid: u32,
    gid: u32,
    home: String,
}

fn find_user(passwd: &str, who: &Who) -> Result<User, String> {
    let found = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        let &[name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let matches = match who {
            Who::Number(number) => uid.parse() == Ok(*number),
            Who::Name(wanted) => wanted == name,
        };
        matches.then(|| (name.to_owned(), Who::parse(uid), Who::parse(gid), home.to_owned()))
    });
    match (found, who) {
        (Some((name, Ok(Who::Number(uid)), Ok(Who::Number(gid)), home)), _) => {
            let home = if home.starts_with('/') { home } else { "/".to_owned() };
            Ok(User { name: Some(name), uid, gid, home })
        }
        (Some((name, ..)), _) => Err(format!("the entry of {name:?} in /etc/passwd is malformed")),
        (None, Who::Number(uid)) => Ok(User { name: None, uid: *uid, gid: 0, home: "/".to_owned() }),
        (None, Who::Name(_)) => Err("it is not in the container's /etc/passwd".to_owned()),
    }
}

fn find_group(group: &str, who: &Who) -> Result<u32, String> {
    let wanted = match who {
        Who::Number(number) => return Ok(*number),
        Who::Name(name) => name,
    };
    let entry = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let gid = entry
        .into_iter()
        .find_map(|fields| (fields.len() >= 3 && fields[0] == wanted).then(|| Who::parse(fields[2])));
    match gid {
        Some(Ok(Who::Number(gid))) => Ok(gid),
        Some(_) => Err(format!("the entry of {wanted:?} in /etc/group is malformed")),
        None => Err(format!("the group {wanted:?} is not in the container's /etc/group")),
    }
}

fn memberships(group: &str, user: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[_, _, gid, members] = fields.as_slice() else { return None };
        let Ok(Who::Number(gid)) = Who::parse(gid) else { return None };
        members.split(',').any(|member| member == user).then_some(gid)
    };
    group.lines().filter_map(member).take(MAX_GROUPS).collect()
}

/// A file of the container as text; a missing one is empty. Nothing but a regular file is opened for
/// reading, so a FIFO or a device can't hold us.
fn read(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let place = match openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => return Ok(String::new()),
        other => other?,
    };
    let stat = fstat(&place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > MAX_FILE) {
        return Err(io::Error::other(format!("it is longer than {MAX_FILE} bytes")));
    }
    let file = openat2(root, path, flags, Mode::empty(), resolve)?;
    let again = fstat(&file)?;
    if (again.st_dev, again.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(io::Error::other("it was exchanged while being read"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
