//! Resource limits of the process itself, in two steps. Raising a hard limit takes a privilege, so the builder does it
//! for itself and with that for what it starts; the limits as they were asked for are set by the command's own process
//! just before it becomes the command, and none that is low hinders the start.
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ending::{Failure, FailureKind, Stage};
use crate::spec::{self, ContainerSpec};

/// Open files, when nothing is asked for: what a login gets, and room to raise it.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// All that Linux has (Mesos: `RLMT_*`).
const NAMES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

/// One limit to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub resource: Resource,
    pub name: &'static str,
    pub limit: Rlimit,
}

/// What a spec asks for, and the default number of open files. `open_files` is the hard limit of who sets them.
///
/// # Errors
/// An unknown name, one that comes twice, a soft limit above the hard one.
pub(crate) fn wanted(spec: &ContainerSpec, open_files: Option<u64>) -> Result<Vec<Wanted>, Failure> {
    let mut all: Vec<Wanted> = Vec::new();
    for limit in &spec.rlimits {
        let one = wish(limit)?;
        if all.iter().any(|other| other.resource == one.resource) {
            return Err(refused(format!("the resource limit {} is given twice", one.name)));
        }
        all.push(one);
    }
    if !all.iter().any(|one| one.resource == Resource::Nofile) {
        // Raising a hard limit takes a privilege that the keeper may lack.
        let hard = open_files.map_or(OPEN_FILES.1, |own| OPEN_FILES.1.min(own));
        let limit = Rlimit { current: Some(OPEN_FILES.0.min(hard)), maximum: Some(hard) };
        all.push(Wanted { resource: Resource::Nofile, name: "RLIMIT_NOFILE", limit });
    }
    Ok(all)
}

fn wish(limit: &spec::Rlimit) -> Result<Wanted, Failure> {
    let known = NAMES.iter().find(|(name, _)| *name == limit.name);
    let (name, resource) =
        known.ok_or_else(|| refused(format!("the resource limit {:?} is unknown", limit.name)))?;
    if limit.soft > limit.hard {
        return Err(refused(format!("the soft limit of {name} is above the hard one")));
    }
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    let limit = Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) };
    Ok(Wanted { resource: *resource, name, limit })
}

/// Raises the calling process' own hard limits as far as the spec asks for more, and gives what is to be [`set`].
///
/// # Errors
/// As [`wanted`], and when the kernel refuses one.
pub(crate) fn raise(spec: &ContainerSpec) -> Result<Vec<Wanted>, Failure> {
    let all = wanted(spec, getrlimit(Resource::Nofile).maximum)?;
    let unlimited = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    for one in &all {
        let own = getrlimit(one.resource);
        if unlimited(one.limit.maximum) > unlimited(own.maximum) {
            let higher = Rlimit { current: own.current, maximum: one.limit.maximum };
            setrlimit(one.resource, higher).map_err(|errno| not_taken(one, own.maximum, errno))?;
        }
    }
    Ok(all)
}

/// Sets the limits of the calling process, which none of its hard limits forbids any more.
pub(crate) fn set(all: &[Wanted]) -> io::Result<()> {
    all.iter().try_for_each(|one| Ok(setrlimit(one.resource, one.limit)?))
}

/// Why the kernel did not take one.
fn not_taken(one: &Wanted, own: Option<u64>, errno: rustix::io::Errno) -> Failure {
    let number = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let hint = if one.resource == Resource::Nofile { ", and the sysctl fs.nr_open is the most" } else { "" };
    refused(format!(
        "the kernel refused the resource limit {} (soft {}, hard {}): {errno}; more than the agent's own {} takes \
         CAP_SYS_RESOURCE{hint}",
        one.name,
        number(one.limit.current),
        number(one.limit.maximum),
        number(own)
    ))
}

fn refused(message: String) -> Failure {
    Failure::new(Stage::Prepare, FailureKind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ContainerId;

    fn asked(limits: &[(&str, u64, u64)]) -> Result<Vec<Wanted>, Failure> {
        let mut spec = ContainerSpec::new(ContainerId::new("c").unwrap(), vec!["true".into()]);
        let limit = |(name, soft, hard): &(&str, u64, u64)| spec::Rlimit {
            name: (*name).to_owned(),
            soft: *soft,
            hard: *hard,
        };
        spec.rlimits = limits.iter().map(limit).collect();
        wanted(&spec, Some(20_000))
    }

    #[test]
    fn all_sixteen_are_known_and_open_files_have_a_default() {
        let all: Vec<_> = NAMES.iter().map(|(name, _)| (*name, 1, u64::MAX)).collect();
        let got = asked(&all).unwrap();
        assert_eq!(got.len(), 16);
        assert!(got.iter().all(|one| one.limit == Rlimit { current: Some(1), maximum: None }));
        let default = asked(&[]).unwrap();
        assert_eq!(default[0].limit, Rlimit { current: Some(1024), maximum: Some(20_000) });
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (limits, word) in [
            (vec![("RLIMIT_WISDOM", 1, 1)], "RLIMIT_WISDOM"),
            (vec![("rlimit_core", 1, 1)], "rlimit_core"),
            (vec![("RLIMIT_CORE", 2, 1)], "RLIMIT_CORE"),
            (vec![("RLIMIT_CPU", 1, 1), ("RLIMIT_CPU", 1, 1)], "twice"),
        ] {
            assert!(asked(&limits).unwrap_err().message.contains(word));
        }
    }
}
