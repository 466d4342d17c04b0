//! The text form of resources, as in `--resources=cpus:4;mem(web):1024;ports:[80-80, 31000-32000];disks:{a,b}`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Amount, Kind, Milli, Ranges, Reservation, Resource, Resources};
use crate::role::Role;

/// Why a text is no resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{part}' {why}; expected name:value or name(role):value, such as cpus:4 or ports:[31000-32000]")]
pub struct BadText {
    part: String,
    why: String,
}

/// The names that a text mentions, those of nothing (`cpus:0`) included.
///
/// Mesos: what is mentioned at all is not detected.
pub fn names(text: &str) -> BTreeSet<String> {
    let heads = text.split(';').filter_map(|part| part.split_once(':'));
    let bare = heads.map(|(head, _)| head.split_once('(').map_or(head, |(name, _)| name));
    bare.map(|name| name.trim().to_owned()).collect()
}

/// Reads resources separated by `;`. `default_role` is the role of those that name none (`--default_role`).
///
/// # Errors
/// Names the part that can't be read, and why. The same name with two types of value is refused.
pub fn parse(text: &str, default_role: &Role) -> Result<Resources, BadText> {
    let mut all = Resources::none();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let bad = |why: &str| BadText { part: part.to_owned(), why: why.to_owned() };
        let (head, value) = part.split_once(':').ok_or_else(|| bad("has no ':'"))?;
        let (name, role) = name_and_role(head.trim(), default_role).map_err(|why| bad(&why))?;
        let resource =
            Resource { name: name.into(), amount: amount(value.trim()).map_err(bad)?, kind: kind(role) };
        let clash = all.iter().any(|have| {
            have.name == resource.name
                && std::mem::discriminant(&have.amount) != std::mem::discriminant(&resource.amount)
        });
        if clash {
            return Err(bad("has another type of value than before"));
        }
        all.add_one(&resource);
    }
    Ok(all)
}

fn name_and_role<'a>(head: &'a str, default_role: &Role) -> Result<(&'a str, Role), String> {
    let Some((name, rest)) = head.split_once('(') else {
        return if head.is_empty() {
            Err("has no name".to_owned())
        } else {
            Ok((head, default_role.clone()))
        };
    };
    let role = rest.strip_suffix(')').ok_or("has an unclosed '('")?;
    let role = Role::new(role.trim()).map_err(|bad| bad.to_string())?;
    let name = name.trim();
    if name.is_empty() { Err("has no name".to_owned()) } else { Ok((name, role)) }
}

fn kind(role: Role) -> Arc<Kind> {
    if role == Role::any() {
        return Arc::default();
    }
    let reservation = Reservation { dynamic: false, role, principal: None, labels: None };
    Arc::new(Kind { reservations: vec![reservation], ..Kind::default() })
}

/// Reads one value: a number, `[a-b, c-d]` or `{x, y}`.
fn amount(text: &str) -> Result<Amount, &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("has an unclosed '['")?;
        return ranges(inner).map(Amount::Ranges);
    }
    if let Some(inner) = text.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or("has an unclosed '{'")?;
        let items: BTreeSet<String> =
            inner.split(',').map(str::trim).filter(|i| !i.is_empty()).map(str::to_owned).collect();
        return Ok(Amount::Set(items));
    }
    let number: f64 = text.parse().map_err(|_| "has a value that is no number")?;
    match Milli::from_f64(number) {
        Some(amount) if amount >= Milli::ZERO => Ok(Amount::Scalar(amount)),
        _ => Err("has a value that is negative or too large"),
    }
}

fn ranges(inner: &str) -> Result<Ranges, &'static str> {
    let mut pairs = Vec::new();
    for part in inner.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (begin, end) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| "has a range that is not a-b");
        let (begin, end) = (number(begin)?, number(end)?);
        if begin > end {
            return Err("has a range that ends before it begins");
        }
        pairs.push((begin, end));
    }
    Ok(Ranges::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read() {
        let check = |text: &str, expect: &str| {
            assert_eq!(
                parse(text, &Role::any()).map_or_else(|e| e.to_string(), |r| r.to_string()),
                expect,
                "{text}"
            );
        };
        check("cpus:4;mem:1024", "cpus:4; mem:1024");
        check("ports:[80-80, 31000-32000]", "ports:[80-80, 31000-32000]");
        check("ports:[10-20,15-30,31-40,7]", "ports:[7-7, 10-40]");
        check(" disks : {b, a} ; ", "disks:{a, b}");
        check("cpus(web):2;cpus:1;cpus:1.5", "cpus(web):2; cpus:2.5");
        check("", "");
        let tail = "; expected name:value or name(role):value, such as cpus:4 or ports:[31000-32000]";
        check("cpus", &format!("'cpus' has no ':'{tail}"));
        check("cpus:x", &format!("'cpus:x' has a value that is no number{tail}"));
        check("cpus:-1", &format!("'cpus:-1' has a value that is negative or too large{tail}"));
        check("ports:[5-3]", &format!("'ports:[5-3]' has a range that ends before it begins{tail}"));
        check("cpus:1;cpus:[1-2]", &format!("'cpus:[1-2]' has another type of value than before{tail}"));
        assert_eq!(parse("mem:1", &Role::new("ops").unwrap()).unwrap().to_string(), "mem(ops):1");
    }

    #[test]
    fn names_are_those_that_are_mentioned() {
        let names = names("cpus:0; mem (web):1;junk;ports:[1-2]");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["cpus", "mem", "ports"]);
    }

    use proptest::prelude::*;

    /// One resource as text, with the blanks that people put in.
    fn part() -> impl Strategy<Value = String> {
        let name = "[a-z]{1,6}";
        let role =
            prop_oneof![Just(String::new()), "[a-z]{1,4}(/[a-z]{1,3})?".prop_map(|role| format!("({role})"))];
        let scalar = (0u32..1_000_000).prop_map(|milli| format!("{}.{:03}", milli / 1000, milli % 1000));
        let range = (0u64..70_000, 0u64..100).prop_map(|(begin, more)| format!("{begin}-{}", begin + more));
        let ranges = prop::collection::vec(range, 1..5).prop_map(|all| format!("[{}]", all.join(", ")));
        let set =
            prop::collection::vec("[a-z0-9]{1,4}", 1..5).prop_map(|all| format!("{{{}}}", all.join(",")));
        (name, role, prop_oneof![scalar, ranges, set], "[ ]{0,2}").prop_map(|(name, role, value, blank)| {
            format!("{blank}{name}{role}{blank}:{blank}{value}{blank}")
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(parts in prop::collection::vec(part(), 0..6)) {
            // The same name with two types of value is refused, and nothing else of these is.
            if let Ok(read) = parse(&parts.join(";"), &Role::any()) {
                prop_assert_eq!(&parse(&read.to_string(), &Role::any()).unwrap(), &read);
                let wire = Resources::from_wire(&read.to_wire()).unwrap();
                prop_assert_eq!(wire, read);
            } else {
                prop_assert!(parts.len() > 1);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9:;,(){}\\[\\]. \\-]{0,80}", any in ".{0,60}") {
            let _ = parse(&text, &Role::any());
            let _ = parse(&any, &Role::any());
            let _ = names(&any);
        }
    }
}
