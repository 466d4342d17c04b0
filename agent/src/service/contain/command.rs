//! What a task's command comes to with its image: program, arguments, environment, folder. Pure.
//!
//! Mesos' `docker/runtime`: with `shell`, the value is given to `/bin/sh -c` and the image's CMD and ENTRYPOINT are
//! ignored; without, `value` is the program and `arguments` all of its arguments; without a value, the ENTRYPOINT is
//! the program, followed by the task's arguments or else by CMD; without an ENTRYPOINT, CMD, of which only the program
//! is taken when the task has arguments. The environment of the image comes first and is overridden by that of the
//! agent and of the task.

use std::collections::BTreeMap;

use images::ImageConfig;
use wire::v1;
use wire::v1::environment::variable::Type;

/// What is executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Command {
    /// The program, when it is not the first argument.
    pub(crate) program: Option<String>,
    /// All arguments, `argv[0]` included.
    pub(crate) argv: Vec<String>,
}

/// Merges a command with the image's idea of one.
///
/// # Errors
/// There is nothing to execute.
pub(crate) fn merge(command: &v1::CommandInfo, image: Option<&ImageConfig>) -> Result<Command, String> {
    let value = command.value.as_deref().filter(|value| !value.is_empty());
    if command.shell() {
        let Some(value) = value else {
            return Err(
                "The command is empty: a shell command needs a 'value' (or set 'shell' to false to run what \
                        the image names)"
                    .to_owned(),
            );
        };
        let argv = ["/bin/sh", "-c", value].map(str::to_owned).to_vec();
        return Ok(Command { program: None, argv });
    }
    if let Some(value) = value {
        return Ok(of_value(value, &command.arguments));
    }
    let image = image.ok_or("The command is empty: without an image it needs a 'value'")?;
    let own = &command.arguments;
    let argv: Vec<String> = match (image.entrypoint.is_empty(), own.is_empty()) {
        (false, true) => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
        (false, false) => image.entrypoint.iter().chain(own).cloned().collect(),
        (true, true) => image.cmd.clone(),
        // Mesos: of CMD only the program stays.
        (true, false) => {
            image.cmd.iter().take(1).chain(own.iter().filter(|_| !image.cmd.is_empty())).cloned().collect()
        }
    };
    if argv.is_empty() {
        return Err("There is nothing to run: neither the task nor its image names a command".to_owned());
    }
    Ok(Command { program: None, argv })
}

fn of_value(value: &str, arguments: &[String]) -> Command {
    match arguments.first() {
        None => Command { program: None, argv: vec![value.to_owned()] },
        Some(first) if first == value => Command { program: None, argv: arguments.to_vec() },
        Some(_) => Command { program: Some(value.to_owned()), argv: arguments.to_vec() },
    }
}

/// The task's own environment.
///
/// # Errors
/// A variable needs a secret resolver, or has no value.
pub(crate) fn environment(command: &v1::CommandInfo) -> Result<Vec<(String, String)>, String> {
    let variables = command.environment.iter().flat_map(|e| &e.variables);
    variables
        .map(|variable| {
            let name = variable.name.clone();
            if variable.r#type() == Type::Secret {
                return secret(variable).map(|value| (name, value));
            }
            let value = variable.value.clone();
            value
                .map(|value| (name.clone(), value))
                .ok_or(format!("The environment variable {name} has no value"))
        })
        .collect()
}

fn secret(variable: &v1::environment::Variable) -> Result<String, String> {
    let name = &variable.name;
    let value = variable.secret.as_ref().and_then(|secret| secret.value.as_ref()).ok_or(format!(
        "The environment variable {name} refers to a secret; only secrets given by value are supported yet"
    ))?;
    String::from_utf8(value.data.to_vec())
        .map_err(|_| format!("The secret of the environment variable {name} is no text"))
}

/// Puts environments over one another: later ones override, the order of first mention stays.
pub(crate) fn overlay<'a>(layers: impl IntoIterator<Item = &'a [(String, String)]>) -> Vec<(String, String)> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in layers.into_iter().flatten() {
        match at.get(name.as_str()) {
            Some(&i) => all[i].1.clone_from(value),
            None => {
                at.insert(name, all.len());
                all.push((name.clone(), value.clone()));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn merged(shell: bool, value: Option<&str>, args: &[&str], image: Option<(&[&str], &[&str])>) -> String {
        let command = v1::CommandInfo {
            shell: Some(shell),
            value: value.map(str::to_owned),
            arguments: texts(args),
            ..Default::default()
        };
        let image = image.map(|(entrypoint, cmd)| ImageConfig {
            entrypoint: texts(entrypoint),
            cmd: texts(cmd),
            ..Default::default()
        });
        match merge(&command, image.as_ref()) {
            Ok(Command { program: None, argv }) => format!("{argv:?}"),
            Ok(Command { program: Some(program), argv }) => format!("{program} as {argv:?}"),
            Err(why) => why.split(':').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn the_table_of_mesos() {
        let (both, entry, cmd, none): ([&[&str]; 2], _, _, [&[&str]; 2]) =
            ([&["/e", "x"], &["c"]], [&["/e"][..], &[]], [&[][..], &["/c", "d"]], [&[], &[]]);
        let of = |image: [&'static [&'static str]; 2]| Some((image[0], image[1]));
        for (shell, value, args, image, expect) in [
            (true, Some("exit 7"), &[][..], of(both), r#"["/bin/sh", "-c", "exit 7"]"#),
            (true, Some("exit 7"), &[], None, r#"["/bin/sh", "-c", "exit 7"]"#),
            (true, None, &[], of(both), "The command is empty"),
            (true, Some(""), &[], of(both), "The command is empty"),
            (false, Some("/p"), &["p", "-a"], of(both), r#"/p as ["p", "-a"]"#),
            (false, Some("/p"), &["/p", "-a"], of(both), r#"["/p", "-a"]"#),
            (false, Some("/p"), &[], of(both), r#"["/p"]"#),
            (false, None, &[], of(both), r#"["/e", "x", "c"]"#),
            (false, None, &["a", "b"], of(both), r#"["/e", "x", "a", "b"]"#),
            (false, None, &[], of(entry), r#"["/e"]"#),
            (false, None, &[], of(cmd), r#"["/c", "d"]"#),
            (false, None, &["a", "b"], of(cmd), r#"["/c", "a", "b"]"#),
            (false, None, &["a", "b"], of(none), "There is nothing to run"),
            (false, None, &[], of(none), "There is nothing to run"),
            (false, None, &[], None, "The command is empty"),
        ] {
            assert_eq!(merged(shell, value, args, image), expect, "{shell} {value:?} {args:?}");
        }
    }

    #[test]
    fn later_environments_win() {
        let pair = |(n, v): (&str, &str)| (n.to_owned(), v.to_owned());
        let image = [("PATH", "/i"), ("A", "1")].map(pair);
        let task = [("A", "2"), ("B", "3"), ("B", "4")].map(pair);
        let all = overlay([&image[..], &task]);
        assert_eq!(all, [("PATH", "/i"), ("A", "2"), ("B", "4")].map(pair));
    }
}
