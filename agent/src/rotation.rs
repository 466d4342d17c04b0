//! Rotation of a task's output by size, as Mesos' logrotate logger is told to do it.
//!
//! The module's parameters are flags here; a task overrides them in the environment of its command, under the same
//! names in capitals behind a prefix: `CONTAINER_LOGGER_MAX_STDOUT_SIZE=1MB`. Of logrotate's own options those about
//! how many old files stay and about compression have a meaning; the rest is refused by name.

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
    pub(crate) fn read(default: Rotation, setting: Setting<'_>) -> Result<Rotation, Unusable> {
        Ok(Rotation {
            stdout: default.stdout.read(setting, "max_stdout_size", "logrotate_stdout_options")?,
            stderr: default.stderr.read(setting, "max_stderr_size", "logrotate_stderr_options")?,
        })
    }

    /// With what a task's environment says.
    ///
    /// # Errors
    /// Names the variable that can't be used.
    pub(crate) fn for_task(self, prefix: &str, environment: &[(String, String)]) -> Result<Rotation, String> {
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
    ) -> Result<RotateBy, Unusable> {
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
        if let Some(text) = setting(options) {
            self.keep = kept(text).map_err(|why| unusable(options, text, why))?;
        }
        Ok(self)
    }
}

/// `rotate N` among logrotate's options.
fn kept(options: &str) -> Result<u32, String> {
    let mut keep = 0;
    for line in options.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("rotate"), Some(number), None) => {
                let number = number.parse::<u32>().ok().filter(|number| *number <= MOST_KEPT);
                keep = number
                    .ok_or_else(|| format!("'{line}' is not 'rotate' and a number up to {MOST_KEPT}"))?;
            }
            // What the rotation does anyway, or what has no meaning for files that are always there.
            (
                Some("nocompress" | "missingok" | "notifempty" | "nocreate" | "nodateext" | "nomail"),
                None,
                None,
            ) => {}
            _ => return Err(format!("'{line}' is not supported; 'rotate N' is")),
        }
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Rotation, String> {
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
        assert_eq!(rotation, Ok(Rotation { stdout, stderr: RotateBy { max_bytes: 10 << 20, keep: 5 } }));
        assert_eq!(read(&[]), Ok(Rotation::default()));
    }

    #[test]
    fn refusals_name_the_variable() {
        for (name, value, part) in [
            ("MAX_STDOUT_SIZE", "4095B", "at least 4KB"),
            ("MAX_STDERR_SIZE", "10", "such as 10MB"),
            ("LOGROTATE_STDOUT_OPTIONS", "compress", "'compress' is not supported"),
            ("LOGROTATE_STDOUT_OPTIONS", "rotate -1", "number up to"),
            ("LOGROTATE_STDERR_OPTIONS", "postrotate; rm -rf /; endscript", "'postrotate' is not supported"),
        ] {
            let variable = format!("CONTAINER_LOGGER_{name}");
            let why = read(&[(&variable, value)]).unwrap_err();
            assert!(why.contains(&format!("{variable}={value}")) && why.contains(part), "{why}");
        }
    }
}
