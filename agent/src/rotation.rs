//! Rotation of a task's output by size, as Mesos' logrotate logger is told to do it.
//!
//! The module's parameters are flags here; a task overrides them in the environment of its command, under the same
//! names in capitals behind a prefix: `CONTAINER_LOGGER_MAX_STDOUT_SIZE=1MB`. Of logrotate's own options `rotate N` has a
//! meaning, others ask for what happens anyway, and the rest is left out with a word in the log: no task ends for it.

use std::collections::BTreeSet;

use model::size::{format_bytes, parse_bytes};

/// Mesos: a page is the least.
pub(crate) const LEAST_BYTES: u64 = 4096;
/// Most old files of one stream.
const MOST_KEPT: u32 = 10_000;

/// How both streams of a task are rotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// Standard output.
    pub stdout: RotateBy,
    /// Standard error.
    pub stderr: RotateBy,
}

/// How one stream is rotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotateBy {
    /// The file is rotated before it would grow beyond this.
    pub max_bytes: u64,
    /// Old files that stay, `stdout.1` being the newest. logrotate: none unless said otherwise.
    pub keep: u32,
}

/// Settings of one logger, by the names of the flags.
pub(crate) type Setting<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

impl Rotation {
    /// Reads four settings; those that are not there stay as in `default`.
    ///
    /// # Errors
    /// Names the setting that can't be used, its value and what would be right.
    pub(crate) fn read(default: Rotation, setting: Setting<'_>) -> Result<(Rotation, LeftOut), Unusable> {
        let (stdout, mut left_out) =
            default.stdout.read(setting, "max_stdout_size", "logrotate_stdout_options")?;
        let (stderr, more) = default.stderr.read(setting, "max_stderr_size", "logrotate_stderr_options")?;
        left_out.extend(more);
        Ok((Rotation { stdout, stderr }, left_out))
    }

    /// With what a task's environment says.
    ///
    /// # Errors
    /// Names the variable that can't be used.
    pub(crate) fn for_task(
        self,
        prefix: &str,
        environment: &[(String, String)],
    ) -> Result<(Rotation, LeftOut), String> {
        let variable = |name: &str| format!("{prefix}{}", name.to_ascii_uppercase());
        let setting = |name: &str| {
            let named = environment.iter().rev().find(|(have, _)| *have == variable(name));
            named.map(|(_, value)| value.as_str())
        };
        Rotation::read(self, &setting).map_err(|unusable| {
            let Unusable { name, value, why } = unusable;
            format!("The environment variable {}={value} can't be used: {why}", variable(name))
        })
    }
}

impl Default for Rotation {
    /// Mesos: 10 MB, and logrotate's default of keeping nothing.
    fn default() -> Rotation {
        let by = RotateBy { max_bytes: 10 << 20, keep: 0 };
        Rotation { stdout: by, stderr: by }
    }
}

/// Options that can't be had here, and are done without.
pub(crate) type LeftOut = BTreeSet<String>;

/// A setting that can't be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unusable {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) why: String,
}

impl RotateBy {
    fn read(
        mut self,
        setting: Setting<'_>,
        size: &'static str,
        options: &'static str,
    ) -> Result<(RotateBy, LeftOut), Unusable> {
        let unusable = |name, value: &str, why: String| Unusable { name, value: value.to_owned(), why };
        if let Some(text) = setting(size) {
            let bytes = parse_bytes(text).filter(|bytes| *bytes >= LEAST_BYTES);
            self.max_bytes = bytes.ok_or_else(|| {
                unusable(
                    size,
                    text,
                    format!("expected a size of at least {}, such as 10MB", format_bytes(LEAST_BYTES)),
                )
            })?;
        }
        let mut left_out = LeftOut::new();
        if let Some(text) = setting(options) {
            self.keep = kept(text, &mut left_out).map_err(|why| unusable(options, text, why))?;
        }
        Ok((self, left_out))
    }
}

/// Options that change nothing. When a file is rotated its size alone says, as in Mesos, which puts `size` after them; a
/// file is always there and never empty then, and no script runs.
const WITHOUT_MEANING: &[&str] = &[
    "copy",
    "copytruncate",
    "create",
    "daily",
    "delaycompress",
    "hourly",
    "ifempty",
    "maxsize",
    "missingok",
    "monthly",
    "nocompress",
    "nocopy",
    "nocopytruncate",
    "nocreate",
    "nodateext",
    "nodelaycompress",
    "nomail",
    "nomissingok",
    "noolddir",
    "nosharedscripts",
    "noshred",
    "notifempty",
    "sharedscripts",
    "size",
    "su",
    "weekly",
    "yearly",
];

/// Options after which lines of a script follow, up to `endscript`.
const SCRIPTS: &[&str] = &["firstaction", "lastaction", "postrotate", "preremove", "prerotate"];

/// `rotate N` among logrotate's options; what of the others has a meaning that can't be had is told.
fn kept(options: &str, left_out: &mut LeftOut) -> Result<u32, String> {
    let mut keep = 0;
    let mut lines = options.split(['\n', ';']).map(str::trim);
    while let Some(line) = lines.next() {
        // logrotate: `size=1M` is `size 1M`.
        let mut words = line.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty());
        let Some(option) = words.next().filter(|option| !option.starts_with('#')) else { continue };
        if option == "rotate" {
            let number = words.next().and_then(|number| number.parse::<u32>().ok());
            let number = number.filter(|number| *number <= MOST_KEPT && words.next().is_none());
            keep =
                number.ok_or_else(|| format!("'{line}' is not 'rotate' and a number up to {MOST_KEPT}"))?;
        } else if !WITHOUT_MEANING.contains(&option) {
            left_out.insert(option.chars().take(40).collect());
            if SCRIPTS.contains(&option) {
                let _ = lines.find(|line| *line == "endscript");
            }
        }
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<(Rotation, LeftOut), String> {
        let environment: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Rotation::default().for_task("CONTAINER_LOGGER_", &environment)
    }

    #[test]
    fn a_task_overrides_what_it_names() {
        let rotation = read(&[
            ("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "1MB"),
            ("CONTAINER_LOGGER_LOGROTATE_STDERR_OPTIONS", "rotate 5\nnocompress"),
            ("MAX_STDERR_SIZE", "1KB"),
        ]);
        let stdout = RotateBy { max_bytes: 1 << 20, keep: 0 };
        let expected = Rotation { stdout, stderr: RotateBy { max_bytes: 10 << 20, keep: 5 } };
        assert_eq!(rotation, Ok((expected, LeftOut::new())));
        assert_eq!(read(&[]), Ok((Rotation::default(), LeftOut::new())));
    }

    /// Options of logrotate's as they stand in tasks that ran under Mesos.
    #[test]
    fn options_that_can_not_be_had_are_left_out() {
        for (options, keep, left_out) in [
            ("rotate 9\ncompress", 9, "compress"),
            ("size 5k; copytruncate; daily; rotate 2", 2, ""),
            ("size=5k\n\tmissingok\n  notifempty\ncreate 0644 root root\nrotate=3", 3, ""),
            ("# old files\nrotate 4\n#compress", 4, ""),
            ("compress\ndelaycompress\ndateext\nolddir /var/old\nrotate 1", 1, "compress dateext olddir"),
            ("postrotate\nrm -rf /; rotate 7\nendscript\nrotate 5", 5, "postrotate"),
            ("prerotate\nrotate 7", 0, "prerotate"),
            ("", 0, ""),
        ] {
            let (rotation, told) = read(&[("CONTAINER_LOGGER_LOGROTATE_STDOUT_OPTIONS", options)]).unwrap();
            let told = told.into_iter().collect::<Vec<_>>().join(" ");
            assert_eq!((rotation.stdout.keep, told.as_str()), (keep, left_out), "{options}");
        }
    }

    #[test]
    fn refusals_name_the_variable() {
        for (name, value, part) in [
            ("MAX_STDOUT_SIZE", "4095B", "at least 4KB"),
            ("MAX_STDERR_SIZE", "10", "such as 10MB"),
            ("LOGROTATE_STDOUT_OPTIONS", "rotate -1", "number up to"),
            ("LOGROTATE_STDERR_OPTIONS", "compress; rotate many", "number up to"),
            ("LOGROTATE_STDERR_OPTIONS", "rotate 1 2", "number up to"),
        ] {
            let variable = format!("CONTAINER_LOGGER_{name}");
            let why = read(&[(&variable, value)]).unwrap_err();
            assert!(why.contains(&format!("{variable}={value}")) && why.contains(part), "{why}");
        }
    }
}
