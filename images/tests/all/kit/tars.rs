//! Tars written block by block, so that they can also be wrong.

/// One member: a header, whatever comes before it, and content.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub flag: u8,
    pub mode: u64,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub device: (u64, u64),
    pub data: Vec<u8>,
    /// The size field, when it is to differ from the content's.
    pub stated: Option<u64>,
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    pub gnu_name: Option<Vec<u8>>,
    pub gnu_link: Option<Vec<u8>>,
}

impl Member {
    pub fn new(flag: u8, name: &str) -> Self {
        Self {
            name: name.into(),
            link: Vec::new(),
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: 1_600_000_000,
            device: (0, 0),
            data: Vec::new(),
            stated: None,
            pax: Vec::new(),
            gnu_name: None,
            gnu_link: None,
        }
    }

    pub fn mode(self, mode: u64) -> Self {
        Self { mode, ..self }
    }

    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    pub fn device(self, major: u64, minor: u64) -> Self {
        Self { device: (major, minor), ..self }
    }

    pub fn stated(self, size: u64) -> Self {
        Self { stated: Some(size), ..self }
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.into(), value.into()));
        self
    }

    /// The name in a PAX header, nothing useful in the plain one.
    pub fn pax_name(self, name: &str) -> Self {
        Self { name: b"pax-name".to_vec(), ..self }.pax("path", name.as_bytes())
    }

    pub fn gnu_name(self, name: &str) -> Self {
        Self { name: b"gnu-name".to_vec(), gnu_name: Some(name.into()), ..self }
    }

    fn write(&self, to: &mut Vec<u8>) {
        if !self.pax.is_empty() {
            let records: Vec<u8> = self.pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            Self { data: records, ..Self::new(b'x', "pax") }.write(to);
        }
        for (flag, name) in [(b'L', &self.gnu_name), (b'K', &self.gnu_link)] {
            if let Some(name) = name {
                let data = [name.as_slice(), b"\0"].concat();
                Self { data, ..Self::new(flag, "././@LongLink") }.write(to);
            }
        }
        to.extend_from_slice(&self.header());
        to.extend_from_slice(&self.data);
        to.resize(to.len().next_multiple_of(512), 0);
    }

    pub fn header(&self) -> [u8; 512] {
        let mut block = [0u8; 512];
        let mut text = |at: usize, most: usize, text: &[u8]| {
            let length = text.len().min(most);
            block[at..at + length].copy_from_slice(&text[..length]);
        };
        text(0, 100, &self.name);
        text(100, 8, format!("{:07o}", self.mode).as_bytes());
        text(108, 8, format!("{:07o}", self.uid).as_bytes());
        text(116, 8, format!("{:07o}", self.gid).as_bytes());
        text(124, 12, format!("{:011o}", self.stated.unwrap_or(self.data.len() as u64)).as_bytes());
        text(136, 12, format!("{:011o}", self.mtime).as_bytes());
        text(156, 1, &[self.flag]);
        text(157, 100, &self.link);
        text(257, 8, b"ustar\x0000");
        text(329, 8, format!("{:07o}", self.device.0).as_bytes());
        text(337, 8, format!("{:07o}", self.device.1).as_bytes());
        checksum(&mut block);
        block
    }
}

pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// `length key=value\n`
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|l| l.to_string().len() + rest == *l).unwrap();
    [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

pub fn dir(name: &str) -> Member {
    Member::new(b'5', name)
}

pub fn file(name: &str, content: &str) -> Member {
    Member { data: content.into(), ..Member::new(b'0', name) }
}

pub fn symlink(name: &str, target: &str) -> Member {
    Member { link: target.into(), ..Member::new(b'2', name) }
}

pub fn hardlink(name: &str, target: &str) -> Member {
    Member { link: target.into(), ..Member::new(b'1', name) }
}

pub fn tar(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    members.iter().for_each(|member| member.write(&mut bytes));
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

/// Bytes that look random and are the same each time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
