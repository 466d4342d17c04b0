//! What may be different about an agent that comes back after a restart.
//!
//! Mesos: with `--reconfiguration_policy=equal` nothing; with `additive` it may gain resources and attributes, its
//! scalars may grow and its ranges and sets may get more, while its hostname, its port and a domain that it once had
//! stay.

use model::Resources;
use model::resources::Ranges;
use wire::v1;

/// Which differences are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reconfiguration {
    /// None.
    #[default]
    Equal,
    /// More of what there was, and more besides.
    Additive,
}

impl Reconfiguration {
    /// Whether `now` may go on as `before`.
    ///
    /// # Errors
    /// Says what is different and not allowed to be.
    pub(super) fn allow(self, before: &v1::AgentInfo, now: &v1::AgentInfo) -> Result<(), String> {
        if before.hostname != now.hostname {
            return Err(format!("its hostname was {} and is {}", before.hostname, now.hostname));
        }
        if before.port() != now.port() {
            return Err(format!("its port was {} and is {}", before.port(), now.port()));
        }
        let was = Resources::from_wire(&before.resources).unwrap_or_default();
        let is = Resources::from_wire(&now.resources).unwrap_or_default();
        match self {
            Reconfiguration::Equal => {
                same(before.domain == now.domain, "its domain is not what it was".to_owned())?;
                // In any order.
                let equal = was.contains(&is) && is.contains(&was);
                same(equal, format!("its resources were {was} and are {is}"))?;
                // Mesos: attributes as well, as many as before and each of them on either side.
                let (was, is) = (&before.attributes, &now.attributes);
                let equal = was.len() == is.len() && all_of(was, is) && all_of(is, was);
                same(equal, attributes(before, now))
            }
            Reconfiguration::Additive => {
                let kept = before.domain.is_none() || before.domain == now.domain;
                same(kept, "its domain is not what it was".to_owned())?;
                same(is.contains(&was), format!("its resources were {was} and are only {is}"))?;
                let kept = |was: &v1::Attribute| now.attributes.iter().any(|is| extends(is, was));
                same(before.attributes.iter().all(kept), attributes(before, now))
            }
        }
    }
}

/// Whether each attribute of one list is in the other, a set's items in any order.
fn all_of(some: &[v1::Attribute], others: &[v1::Attribute]) -> bool {
    some.iter().all(|one| others.iter().any(|other| extends(one, other) && extends(other, one)))
}

fn same(it_is: bool, otherwise: String) -> Result<(), String> {
    if it_is { Ok(()) } else { Err(otherwise) }
}

/// Whether one attribute says all that another did.
fn extends(is: &v1::Attribute, was: &v1::Attribute) -> bool {
    if is.name != was.name || is.r#type != was.r#type {
        return false;
    }
    match (is, was) {
        (v1::Attribute { scalar: Some(is), .. }, v1::Attribute { scalar: Some(was), .. }) => {
            is.value >= was.value
        }
        (v1::Attribute { ranges: Some(is), .. }, v1::Attribute { ranges: Some(was), .. }) => {
            ranges(is).contains(&ranges(was))
        }
        (v1::Attribute { set: Some(is), .. }, v1::Attribute { set: Some(was), .. }) => {
            was.item.iter().all(|item| is.item.contains(item))
        }
        _ => is == was,
    }
}

fn ranges(message: &v1::value::Ranges) -> Ranges {
    Ranges::from_pairs(message.range.iter().map(|range| (range.begin, range.end)).collect())
}

fn attributes(before: &v1::AgentInfo, now: &v1::AgentInfo) -> String {
    let names = |info: &v1::AgentInfo| {
        let all: Vec<String> = info.attributes.iter().map(said).collect();
        all.join("; ")
    };
    format!("its attributes were [{}] and are [{}]", names(before), names(now))
}

fn said(attribute: &v1::Attribute) -> String {
    let value = match attribute {
        v1::Attribute { scalar: Some(scalar), .. } => scalar.value.to_string(),
        v1::Attribute { ranges: Some(message), .. } => ranges(message).to_string(),
        v1::Attribute { set: Some(set), .. } => format!("{{{}}}", set.item.join(", ")),
        v1::Attribute { text, .. } => text.as_ref().map_or_else(String::new, |text| text.value.clone()),
    };
    format!("{}:{value}", attribute.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Role;

    fn agent(resources: &str, attributes: &str) -> v1::AgentInfo {
        v1::AgentInfo {
            hostname: "a".to_owned(),
            port: Some(5051),
            resources: model::resources::parse(resources, &Role::any()).unwrap().to_wire(),
            attributes: model::attributes::parse(attributes).unwrap(),
            ..Default::default()
        }
    }

    /// For both policies: `equal` and `additive`.
    fn allowed(before: (&str, &str), now: (&str, &str)) -> (bool, bool) {
        let (before, now) = (agent(before.0, before.1), agent(now.0, now.1));
        let allows = |policy: Reconfiguration| policy.allow(&before, &now).is_ok();
        (allows(Reconfiguration::Equal), allows(Reconfiguration::Additive))
    }

    #[test]
    fn equal_and_additive_as_in_mesos() {
        let before =
            ("cpus:2;mem(web):100;ports:[10-20];disks:{a,b}", "rack:r1;level:3;ids:[1-5];tags:{x,y}");
        for (now, expected) in [
            (before, (true, true)),
            (("ports:[10-20];cpus:2;disks:{b,a};mem(web):100", before.1), (true, true)),
            (("cpus:3;mem(web):100;ports:[10-20];disks:{a,b}", before.1), (false, true)),
            (("cpus:2;mem(web):100;ports:[5-20];disks:{a,b,c};gpus:1", before.1), (false, true)),
            (("cpus:1;mem(web):100;ports:[10-20];disks:{a,b}", before.1), (false, false)),
            (("cpus:2;mem:100;ports:[10-20];disks:{a,b}", before.1), (false, false)),
            (("cpus:2;mem(web):100;ports:[11-20];disks:{a,b}", before.1), (false, false)),
            (("cpus:2;mem(web):100;ports:[10-20];disks:{a}", before.1), (false, false)),
            ((before.0, "rack:r1;level:3;ids:[1-5];tags:{x,y};new:1"), (false, true)),
            ((before.0, "rack:r1;level:4;ids:[1-9];tags:{x,y,z}"), (false, true)),
            ((before.0, "tags:{y,x};level:3;rack:r1;ids:[1-5]"), (true, true)),
            ((before.0, "rack:r2;level:3;ids:[1-5];tags:{x,y}"), (false, false)),
            ((before.0, "level:3;ids:[1-5];tags:{x,y}"), (false, false)),
            ((before.0, "rack:r1;level:2;ids:[1-5];tags:{x,y}"), (false, false)),
            ((before.0, "rack:r1;level:3;ids:[2-5];tags:{x,y}"), (false, false)),
            ((before.0, "rack:r1;level:x;ids:[1-5];tags:{x,y}"), (false, false)),
        ] {
            assert_eq!(allowed(before, now), expected, "{now:?}");
        }
    }

    #[test]
    fn name_port_and_a_domain_stay() {
        let before = agent("cpus:1", "");
        let domain = |name: &str| {
            let region = v1::domain_info::fault_domain::RegionInfo { name: name.to_owned() };
            let zone = v1::domain_info::fault_domain::ZoneInfo { name: "z".to_owned() };
            Some(v1::DomainInfo { fault_domain: Some(v1::domain_info::FaultDomain { region, zone }) })
        };
        let with = |name| v1::AgentInfo { domain: domain(name), ..before.clone() };
        for policy in [Reconfiguration::Equal, Reconfiguration::Additive] {
            let other = v1::AgentInfo { hostname: "b".to_owned(), ..before.clone() };
            assert_eq!(policy.allow(&before, &other).unwrap_err(), "its hostname was a and is b");
            let other = v1::AgentInfo { port: Some(1), ..before.clone() };
            assert_eq!(policy.allow(&before, &other).unwrap_err(), "its port was 5051 and is 1");
            assert!(policy.allow(&with("r1"), &with("r2")).is_err());
            assert!(policy.allow(&with("r1"), &before).is_err());
        }
        assert!(Reconfiguration::Equal.allow(&before, &with("r1")).is_err());
        assert!(Reconfiguration::Additive.allow(&before, &with("r1")).is_ok());
    }
}
