//! Who a task runs as: by its command, else by its framework; and which names are root's.

/// The user of a command, else that of its framework.
///
/// Mesos: what the command names goes first, even an empty text, which is then nobody whom the host knows, so the task
/// fails. An empty text names nobody here, too, so the framework's user stands; it never means root.
pub fn of_task<'a>(command: Option<&'a str>, framework: &'a str) -> &'a str {
    command.filter(|own| !own.is_empty()).unwrap_or(framework)
}

/// Whether a user, as `NAME`, `UID`, `NAME:GROUP` or `UID:GID`, is root or nobody at all.
///
/// Mesos compares with `root` alone, since it knows no user by number.
pub fn names_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    // However the number is written: what one reader refuses the next may take.
    name.is_empty() || name == "root" || name.parse::<i64>() == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_goes_first_if_it_names_somebody() {
        assert_eq!(of_task(Some("me"), "www"), "me");
        assert_eq!(of_task(Some(""), "www"), "www");
        assert_eq!(of_task(None, "www"), "www");
        assert_eq!(of_task(Some(""), ""), "");
    }

    #[test]
    fn root_by_any_name() {
        for root in ["root", "0", "00", "+0", "-0", "root:root", "0:0", "0:web", "root:", "", ":", ":web"] {
            assert!(names_root(root), "{root}");
        }
        for other in ["web", "rooted", "Root", "1", "10", "web:root", "1:0", "0x0", " root"] {
            assert!(!names_root(other), "{other}");
        }
    }
}
