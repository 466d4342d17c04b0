//! Which entry of an index fits this host.

use std::cmp::Reverse;

use serde::Deserialize;

use super::document::Descriptor;

/// Operating system and processor, in Go's words as the image specification has them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
}

impl Platform {
    /// The machine we run on.
    pub(crate) fn host() -> Self {
        let architecture = go_architecture(std::env::consts::ARCH).to_owned();
        let variant = match architecture.as_str() {
            "arm64" => Some("v8".to_owned()),
            "arm" => Some("v7".to_owned()),
            _ => None,
        };
        Self { os: "linux".into(), architecture, variant }
    }

    /// How well an image of `self` runs on `host`: 0 is a perfect fit, `None` not at all.
    pub(crate) fn fit(&self, host: &Self) -> Option<u8> {
        if self.os != host.os {
            return None;
        }
        let (own, wanted) = (go_architecture(&self.architecture), host.architecture.as_str());
        match (own, wanted) {
            _ if own == wanted => variant_fit(own, self.variant.as_deref(), host.variant.as_deref()),
            ("386", "amd64") => Some(100),
            ("arm", "arm64") => Some(100),
            _ => None,
        }
    }

    /// Best first; entries without a platform come after every entry that names a fitting one.
    pub(crate) fn choose<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let rank = |entry: &&Descriptor| match &entry.platform {
            Some(platform) => platform.fit(self),
            None => Some(u8::MAX),
        };
        let fitting = entries.iter().enumerate().filter_map(|(i, e)| rank(&e).map(|r| (r, i, e)));
        fitting.max_by_key(|(rank, index, _)| Reverse((*rank, *index))).map(|(_, _, entry)| entry)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

fn go_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

/// Images for an older variant of the same processor run; the nearest one is preferred.
fn variant_fit(architecture: &str, own: Option<&str>, host: Option<&str>) -> Option<u8> {
    let number = |v: Option<&str>, absent: u8| match v {
        None | Some("") => Some(absent),
        Some(text) => text.strip_prefix('v')?.parse::<u8>().ok(),
    };
    match architecture {
        "arm64" => number(own, 8)?.checked_sub(8).map(|extra| extra * 10),
        "arm" => number(host, 7)?.checked_sub(number(own, 7)?),
        "amd64" => number(own, 1).filter(|n| *n <= amd64_level()).map(|n| n.saturating_sub(1)),
        _ => Some(0),
    }
}

#[cfg(target_arch = "x86_64")]
fn amd64_level() -> u8 {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let v3 =
        v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("lzcnt") && has!("movbe");
    1 + u8::from(v2) + u8::from(v3)
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> u8 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        Platform { os, architecture, variant: parts.next() }
    }

    fn chosen(host: &str, entries: &[&str]) -> Option<usize> {
        let entries: Vec<Descriptor> = entries
            .iter()
            .enumerate()
            .map(|(i, p)| Descriptor::for_test(i as u64, (!p.is_empty()).then(|| platform(p))))
            .collect();
        platform(host).choose(&entries).map(|e| usize::try_from(e.size).unwrap())
    }

    #[test]
    fn an_index_yields_the_nearest_platform() {
        let amd = "linux/amd64";
        assert_eq!(chosen(amd, &["linux/arm64", "linux/amd64"]), Some(1));
        assert_eq!(chosen(amd, &["unknown/unknown", "windows/amd64", "linux/s390x"]), None);
        assert_eq!(chosen(amd, &["linux/386", "", "linux/amd64", "linux/amd64"]), Some(2));
        assert_eq!(chosen(amd, &["linux/386", ""]), Some(0));
        assert_eq!(chosen(amd, &["", "linux/arm64"]), Some(0));
        assert_eq!(chosen(amd, &["linux/amd64/v9", "linux/amd64/v1"]), Some(1));
        assert_eq!(chosen("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"]), Some(1));
        assert_eq!(chosen("linux/arm64/v8", &["linux/arm/v7", "linux/arm64/v8"]), Some(1));
        assert_eq!(chosen("linux/arm64/v8", &["linux/arm64/vx"]), None);
    }
}
