//! The host's names of users and groups.

use std::collections::BTreeMap;

/// Names by number, as `/etc/passwd` and `/etc/group` say them.
#[derive(Debug, Default)]
pub struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    /// Reads them; a host without such files has none.
    pub fn read() -> Names {
        Names { users: names_in("/etc/passwd"), groups: names_in("/etc/group") }
    }

    /// The name of a user, or the number.
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The name of a group, or the number.
    pub fn group(&self, gid: u32) -> String {
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
