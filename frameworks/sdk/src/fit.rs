//! Picks from an offer what a task wants, reserved resources first.

use model::resources::{Amount, Milli, Ranges, Resource, Resources};

/// What of `offered` gives all of `wanted`, kind by kind as offered; none if something is missing. Revocable and
/// shared resources, disks with a volume or source and sets are never picked.
pub fn pick(offered: &Resources, wanted: &Resources) -> Option<Resources> {
    let mut plain: Vec<&Resource> = offered
        .iter()
        .filter(|r| !r.kind.revocable && !r.kind.shared && r.kind.disk.is_none() && r.kind.provider.is_none())
        .collect();
    plain.sort_by_key(|r| std::cmp::Reverse(r.kind.reservations.len()));
    let mut picked = Resources::none();
    for want in wanted.iter() {
        let named = plain.iter().copied().filter(|have| have.name == want.name);
        match &want.amount {
            Amount::Scalar(amount) => scalar(named, *amount, &mut picked)?,
            Amount::Ranges(ranges) => whole(named, ranges, &mut picked)?,
            Amount::Set(_) => return None,
        }
    }
    Some(picked)
}

fn scalar<'a>(have: impl Iterator<Item = &'a Resource>, amount: Milli, picked: &mut Resources) -> Option<()> {
    let mut missing = amount;
    for resource in have {
        let Amount::Scalar(there) = resource.amount else { continue };
        let part = there.min(missing);
        picked.add_one(&Resource { amount: Amount::Scalar(part), ..resource.clone() });
        missing = missing - part;
        if missing <= Milli::ZERO {
            return Some(());
        }
    }
    None
}

/// Ranges are taken from one kind.
fn whole<'a>(
    mut have: impl Iterator<Item = &'a Resource>,
    ranges: &Ranges,
    picked: &mut Resources,
) -> Option<()> {
    let from = have.find(|r| matches!(&r.amount, Amount::Ranges(there) if there.contains(ranges)))?;
    picked.add_one(&Resource { amount: Amount::Ranges(ranges.clone()), ..from.clone() });
    Some(())
}

#[cfg(test)]
mod tests {
    use model::Role;
    use model::resources::parse;

    use super::*;

    #[test]
    fn reserved_resources_go_first() {
        let check = |offered: &str, wanted: &str, expect: Option<&str>| {
            let text = |t| parse(t, &Role::any()).unwrap();
            let picked = pick(&text(offered), &text(wanted)).map(|r| r.to_string());
            assert_eq!(picked.as_deref(), expect, "{wanted} of {offered}");
        };
        check("cpus:4;mem:100", "cpus:1;mem:100", Some("cpus:1; mem:100"));
        check("cpus:4;mem:100", "cpus:1;mem:101", None);
        check("cpus:4", "mem:1", None);
        check("cpus:1;cpus(web):0.5", "cpus:0.7", Some("cpus(web):0.5; cpus:0.2"));
        check("cpus:1;cpus(web):0.5", "cpus:1.6", None);
        check("ports:[80-80,100-200]", "ports:[80-80,150-151]", Some("ports:[80-80, 150-151]"));
        check("ports:[80-80]", "ports:[81-81]", None);
    }
}
