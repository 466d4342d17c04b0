//! What Mesos' own tests pin about values and resources, in our words; docs/parity.tsv says which test of theirs.
#![allow(clippy::unwrap_used)]

use model::resources::{BadResource, Ranges, parse};
use model::{Milli, Resource, Resources, Role};
use wire::v1;
use wire::v1::resource::{AllocationInfo, DiskInfo, ReservationInfo, RevocableInfo, SharedInfo, disk_info};

fn of(text: &str) -> Resources {
    parse(text, &Role::any()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn sum(a: &str, b: &str) -> Resources {
    let mut sum = of(a);
    sum.add(&of(b));
    sum
}

/// `a` without `b`, when `b` is in it.
fn difference(a: &str, b: &str) -> Option<Resources> {
    let mut rest = of(a);
    rest.try_subtract(&of(b)).then_some(rest)
}

#[track_caller]
fn added(a: &str, b: &str, want: &str) {
    assert_eq!(sum(a, b).to_string(), want, "{a} and {b}");
    assert_eq!(sum(b, a), sum(a, b), "in any order");
}

#[track_caller]
fn subtracted(a: &str, b: &str, want: &str) {
    assert_eq!(
        difference(a, b).unwrap_or_else(|| panic!("{b} is in {a}")).to_string(),
        want,
        "{a} without {b}"
    );
}

fn message(name: &str, value: f64) -> v1::Resource {
    let mut message = v1::Resource { name: name.to_owned(), ..Default::default() };
    message.set_type(v1::value::Type::Scalar);
    message.scalar = Some(v1::value::Scalar { value });
    message
}

fn of_wire(messages: &[v1::Resource]) -> Resources {
    Resources::from_wire(messages).unwrap()
}

fn reserved(
    mut message: v1::Resource,
    kind: v1::resource::reservation_info::Type,
    role: &str,
) -> v1::Resource {
    let mut reservation = ReservationInfo { role: Some(role.to_owned()), ..Default::default() };
    reservation.set_type(kind);
    message.reservations.push(reservation);
    message
}

fn labelled(message: v1::Resource, role: &str, label: &str) -> v1::Resource {
    let mut message = reserved(message, v1::resource::reservation_info::Type::Dynamic, role);
    let label = v1::Label { key: label.to_owned(), value: None };
    message.reservations[0].labels = Some(v1::Labels { labels: vec![label] });
    message
}

#[test]
fn scalars_are_equal_by_name_and_value_whatever_their_order() {
    assert_eq!(of("cpus:3;mem:3072"), of("mem:3072;cpus:3"));
    assert_ne!(of("cpus:3"), of("cpus:2"));
    assert_ne!(of("cpus:3"), of("mem:3"));
}

#[test]
fn scalars_contain_no_more_than_they_have() {
    assert!(of("cpus:3;mem:3072").contains(&of("cpus:1;mem:512")));
    assert!(!of("cpus:1;mem:512").contains(&of("cpus:3;mem:3072")));
    // One name too small is enough.
    assert!(!of("cpus:3;mem:512").contains(&of("cpus:1;mem:3072")));
    assert!(!of("cpus:3").contains(&of("mem:1")));
    assert!(of("cpus:3").contains(&Resources::none()));
    assert!(!Resources::none().contains(&of("cpus:1")));
}

#[test]
fn scalars_add_and_subtract_by_name_and_role() {
    added("cpus:1;mem:5", "cpus:2;mem:10", "cpus:3; mem:15");
    added("cpus(a):1;cpus(b):3", "cpus(a):1", "cpus(a):2; cpus(b):3");
    added("cpus(a):1", "mem:5", "cpus(a):1; mem:5");
    added("cpus:1", "cpus:0", "cpus:1");
    subtracted("cpus:50;mem:4096", "cpus:0.5;mem:1024", "cpus:49.5; mem:3072");
    subtracted("cpus(a):5", "cpus(a):2", "cpus(a):3");
    assert_eq!(difference("cpus(a):5", "cpus(b):2"), None, "another role");
    assert_eq!(difference("cpus:5", "cpus:5").unwrap(), Resources::none(), "nothing is left, not a zero");
}

#[test]
fn decimals_are_three_and_arithmetic_is_exact() {
    // Mesos: cpus may be 0.001 fine.
    assert_eq!(of("cpus:1.001").cpus(), Milli::from_millis(1001));
    assert_eq!(of("cpus:1.0004"), of("cpus:1"));
    assert_eq!(of("cpus:1.0006"), of("cpus:1.001"));
    let mut many = Resources::none();
    for _ in 0..10_000 {
        many.add(&of("cpus:1.001"));
    }
    assert_eq!(many, of("cpus:10010"));
    for _ in 0..10_000 {
        assert!(many.try_subtract(&of("cpus:1.001")));
    }
    assert!(many.is_empty());
    // Too small to count is nothing at all.
    assert!(of("cpus:0.00001").is_empty());
    assert_eq!(sum("cpus:1", "cpus:0.0001"), of("cpus:1"));
}

#[test]
fn ranges_are_equal_by_what_they_hold() {
    assert_eq!(of("ports:[20-40]"), of("ports:[20-30,31-40]"));
    assert_eq!(of("ports:[20-40]"), of("ports:[31-40,20-30]"));
    assert_eq!(of("ports:[20-40]"), of("ports:[20-35,25-40]"));
    assert_ne!(of("ports:[20-40]"), of("ports:[20-39]"));
}

#[test]
fn ranges_contain_pieces_of_themselves() {
    let all = of("ports:[2-2,4-5,7-9]");
    for inside in ["ports:[2-2]", "ports:[4-5]", "ports:[8-9]", "ports:[2-2,4-4,9-9]"] {
        assert!(all.contains(&of(inside)), "{inside}");
    }
    for outside in ["ports:[2-3]", "ports:[2-4]", "ports:[5-7]", "ports:[9-10]", "ports:[1-10]"] {
        assert!(!all.contains(&of(outside)), "{outside}");
    }
}

#[test]
fn ranges_are_joined_when_added() {
    added("ports:[20000-40000]", "ports:[30000-50000,10000-20000]", "ports:[10000-50000]");
    added("ports:[1-10,5-30,50-60]", "ports:[10-15,5-30,50-60]", "ports:[1-30, 50-60]");
    added("ports:[1-1]", "ports:[2-2]", "ports:[1-2]");
    added("ports:[1-1,3-3]", "ports:[2-2]", "ports:[1-3]");
    added("ports:[1-10,5-30]", "ports:[6-8]", "ports:[1-30]");
    added("ports:[1-3]", "ports:[5-9]", "ports:[1-3, 5-9]");
    added("ports(web):[1-3]", "ports:[4-6]", "ports(web):[1-3]; ports:[4-6]");
}

#[test]
fn ranges_are_cut_when_subtracted() {
    subtracted("ports:[20000-40000]", "ports:[20000-40000]", "");
    subtracted("ports:[50-60]", "ports:[50-60]", "");
    subtracted("ports:[1-30]", "ports:[10-15]", "ports:[1-9, 16-30]");
    subtracted("ports:[1-30]", "ports:[1-5]", "ports:[6-30]");
    subtracted("ports:[1-30]", "ports:[25-30]", "ports:[1-24]");
    subtracted("ports:[1-10,20-30]", "ports:[5-10,20-20]", "ports:[1-4, 21-30]");
    subtracted("ports:[50000-60000]", "ports:[50001-60000]", "ports:[50000-50000]");
    assert_eq!(difference("ports:[1-10]", "ports:[5-15]"), None, "only a part of it is there");
    assert_eq!(difference("ports:[1-10]", "ports:[20-30]"), None);
}

#[test]
fn ranges_of_pairs_are_sorted_and_coalesced() {
    let pairs = |all: &[(u64, u64)]| Ranges::from_pairs(all.to_vec()).pairs().to_vec();
    assert_eq!(pairs(&[(5, 8), (1, 3)]), [(1, 3), (5, 8)]);
    assert_eq!(pairs(&[(1, 3), (4, 10), (8, 15)]), [(1, 15)]);
    assert_eq!(pairs(&[(1, 10), (2, 3)]), [(1, 10)]);
    assert_eq!(pairs(&[(1, 4), (3, 5), (3, 5)]), [(1, 5)]);
    assert_eq!(pairs(&[]), []);
    let mut ranges = Ranges::one(1, 3);
    ranges.add(&Ranges::one(4, 6));
    assert_eq!(ranges.pairs(), [(1, 6)]);
    ranges.add(&Ranges::one(10, 12));
    ranges.subtract(&Ranges::one(2, 11));
    assert_eq!(ranges.pairs(), [(1, 1), (12, 12)]);
    assert_eq!(ranges.numbers().collect::<Vec<_>>(), [1, 12]);
}

#[test]
fn sets_are_joined_and_cut() {
    assert_eq!(of("disks:{sda1,sdb1}"), of("disks:{sdb1,sda1}"));
    assert_ne!(of("disks:{sda1}"), of("disks:{sda1,sdb1}"));
    assert!(of("disks:{sda1,sdb1}").contains(&of("disks:{sda1}")));
    assert!(!of("disks:{sda1}").contains(&of("disks:{sda1,sdb1}")));
    added("disks:{sda1,sda2,sda3}", "disks:{sda1,sdb1}", "disks:{sda1, sda2, sda3, sdb1}");
    subtracted("disks:{sda1,sda2,sda3}", "disks:{sda1,sda2}", "disks:{sda3}");
    subtracted("disks:{sda1}", "disks:{sda1}", "");
    assert_eq!(difference("disks:{sda1}", "disks:{sda2}"), None);
}

#[test]
fn nothing_is_empty_and_unlike_something() {
    assert!(Resources::none().is_empty() && Resources::default().is_empty());
    assert!(of("").is_empty());
    assert!(of("cpus:0").is_empty(), "Mesos: a resource of zero is none");
    assert_ne!(Resources::none(), of("cpus:1"));
}

#[test]
fn text_is_read_with_roles_and_printed_as_mesos_does() {
    assert_eq!(of("cpus:45.55").to_string(), "cpus:45.55");
    assert_eq!(of("ports:[10000-20000, 30000-50000]").to_string(), "ports:[10000-20000, 30000-50000]");
    assert_eq!(of("disks:{sda1}").to_string(), "disks:{sda1}");
    assert_eq!(of("cpus(role1):2;mem(role2):10;cpus:4").to_string(), "cpus(role1):2; mem(role2):10; cpus:4");
    let ops = parse("cpus:2;mem(web):3", &Role::new("ops").unwrap()).unwrap();
    assert_eq!(ops.to_string(), "cpus(ops):2; mem(web):3", "the default role is for those that name none");
    assert_eq!(of("cpus:1.0000;mem:2.500").to_string(), "cpus:1; mem:2.5");
}

#[test]
fn what_is_no_text_of_resources_is_refused() {
    for bad in [
        "cpus",
        "cpus:",
        ":1",
        "cpus:a",
        "cpus:-1",
        "cpus:1,2",
        "cpus:nan",
        "cpus:inf",
        "ports:[1",
        "ports:1-2]",
        "ports:[2-1]",
        "ports:[a-b]",
        "ports:[1-2-3]",
        "disks:{a",
        "cpus(:1",
        "cpus(a:1",
        "cpus(a//b):1",
        "cpus(-a):1",
        "cpus():1",
        "cpus:1;mem",
    ] {
        assert!(parse(bad, &Role::any()).is_err(), "{bad}");
    }
}

#[test]
fn messages_that_are_no_resources_are_refused() {
    let wrong = |change: &dyn Fn(&mut v1::Resource)| {
        let mut one = message("cpus", 1.0);
        change(&mut one);
        Resources::from_wire(&[one])
    };
    assert!(wrong(&|_| {}).is_ok());
    let none: [&dyn Fn(&mut v1::Resource); 8] = [
        &|one| one.name.clear(),
        &|one| one.scalar = None,
        &|one| one.set_type(v1::value::Type::Ranges),
        &|one| one.set_type(v1::value::Type::Text),
        &|one| one.scalar = Some(v1::value::Scalar { value: -1.0 }),
        &|one| one.scalar = Some(v1::value::Scalar { value: f64::NAN }),
        &|one| one.role = Some("a//b".to_owned()),
        &|one| *one = reserved(one.clone(), v1::resource::reservation_info::Type::Static, "-x"),
    ];
    for (number, change) in none.iter().enumerate() {
        let refused: Result<Resources, BadResource> = wrong(*change);
        assert!(refused.is_err(), "{number}: {refused:?}");
    }
    let mut ports = v1::Resource { name: "ports".to_owned(), ..Default::default() };
    ports.set_type(v1::value::Type::Ranges);
    ports.ranges = Some(v1::value::Ranges { range: vec![v1::value::Range { begin: 5, end: 4 }] });
    assert!(Resources::from_wire(&[ports]).is_err(), "a range that ends before it begins");
}

#[test]
fn the_older_form_with_a_role_is_a_static_reservation() {
    use v1::resource::reservation_info::Type;
    let old = v1::Resource { role: Some("web".to_owned()), ..message("cpus", 2.0) };
    let new = reserved(message("cpus", 2.0), Type::Static, "web");
    assert_eq!(of_wire(&[old]), of_wire(&[new]));
    let any = v1::Resource { role: Some("*".to_owned()), ..message("cpus", 2.0) };
    assert_eq!(of_wire(&[any]), of("cpus:2"));
    let written = of("cpus(web):2").to_wire();
    assert_eq!(written[0].reservations[0].role(), "web");
    assert_eq!(of_wire(&written), of("cpus(web):2"));
}

#[test]
fn reservations_of_different_kinds_do_not_mix() {
    use v1::resource::reservation_info::Type;
    let fixed = || reserved(message("cpus", 1.0), Type::Static, "web");
    let dynamic = || reserved(message("cpus", 1.0), Type::Dynamic, "web");
    let all = of_wire(&[fixed(), fixed(), dynamic(), message("cpus", 1.0)]);
    assert_eq!(all.iter().count(), 3, "{all}");
    assert!(!of_wire(&[fixed()]).contains(&of_wire(&[dynamic()])));
    // Labels and principals tell dynamic reservations apart.
    let (a, b) = (labelled(message("cpus", 1.0), "web", "a"), labelled(message("cpus", 1.0), "web", "b"));
    assert_eq!(of_wire(&[a.clone(), a.clone()]).iter().count(), 1);
    assert_eq!(of_wire(&[a.clone(), b.clone()]).iter().count(), 2);
    assert!(!of_wire(std::slice::from_ref(&a)).contains(&of_wire(std::slice::from_ref(&b))));
    let mut both = of_wire(&[a.clone(), b.clone()]);
    assert!(both.try_subtract(&of_wire(&[b])));
    assert_eq!(both, of_wire(&[a]));
}

#[test]
fn refined_reservations_are_kept_in_their_order() {
    use v1::resource::reservation_info::Type;
    let refined = reserved(reserved(message("cpus", 1.0), Type::Static, "a"), Type::Dynamic, "a/b");
    let read = of_wire(std::slice::from_ref(&refined));
    let one = read.iter().next().unwrap();
    assert_eq!(one.reserved_for().as_str(), "a/b", "the last one says whose it is");
    let written = one.to_wire();
    let roles: Vec<&str> = written.reservations.iter().map(|r| r.role()).collect();
    assert_eq!(roles, ["a", "a/b"]);
    assert_eq!(of_wire(&[written]), read);
    // Mesos: each must be below the one before.
    let wrong = reserved(reserved(message("cpus", 1.0), Type::Static, "a"), Type::Dynamic, "c");
    assert!(Resources::from_wire(&[wrong]).is_err());
    // Clients from before RESERVATION_REFINEMENT: a refined one has no form for them, others have.
    assert!(one.to_wire_before_refinement().is_none());
    let plain = of("cpus(web):1");
    let old = plain.iter().next().unwrap().to_wire_before_refinement().unwrap();
    assert_eq!((old.role(), old.reservations.len()), ("web", 0));
}

#[test]
fn a_role_may_use_what_is_reserved_for_it_or_above_it() {
    let all = of("cpus:1;cpus(a):2;cpus(a/b):4;cpus(c):8");
    let usable = |role: &str| all.usable_by(&Role::new(role).unwrap()).cpus();
    assert_eq!(usable("a"), Milli::from_millis(3000));
    assert_eq!(usable("a/b"), Milli::from_millis(7000));
    assert_eq!(usable("d"), Milli::from_millis(1000));
    assert_eq!(all.unreserved(), of("cpus:1"));
    let web = Role::new("a").unwrap();
    assert_eq!(all.filter(|one| one.reserved_for() == web), of("cpus(a):2"));
}

fn volume(id: &str, megabytes: f64) -> v1::Resource {
    let persistence = disk_info::Persistence { id: id.to_owned(), ..Default::default() };
    let disk = DiskInfo { persistence: Some(persistence), ..Default::default() };
    let disk = v1::Resource { disk: Some(disk.into()), ..message("disk", megabytes) };
    reserved(disk, v1::resource::reservation_info::Type::Static, "web")
}

#[test]
fn volumes_never_add_up() {
    let (one, other) = (volume("1", 10.0), volume("2", 10.0));
    let both = of_wire(&[one.clone(), other.clone()]);
    assert_eq!(both.iter().count(), 2, "volumes never add up");
    assert!(both.contains(&of_wire(std::slice::from_ref(&one))));
    let mut rest = both;
    assert!(rest.try_subtract(&of_wire(&[one])));
    assert_eq!(rest, of_wire(&[other]));
}

#[test]
fn revocable_resources_are_of_their_own_kind() {
    let revocable = |amount| v1::Resource { revocable: Some(RevocableInfo {}), ..message("cpus", amount) };
    let all = of_wire(&[message("cpus", 1.0), revocable(2.0), revocable(3.0)]);
    assert_eq!(all.iter().count(), 2);
    assert!(all.contains(&of_wire(&[revocable(5.0)])));
    assert!(!all.contains(&of("cpus:2")), "not to be had for plain ones");
    let mut rest = all;
    assert!(rest.try_subtract(&of_wire(&[revocable(5.0)])));
    assert_eq!(rest, of("cpus:1"));
}

#[test]
fn shared_resources_are_of_their_own_kind() {
    let shared = || v1::Resource { shared: Some(SharedInfo {}), ..volume("1", 10.0) };
    assert_ne!(of_wire(&[shared()]), of_wire(&[volume("1", 10.0)]));
    assert!(!of_wire(&[volume("1", 10.0)]).contains(&of_wire(&[shared()])));
    assert_eq!(of_wire(&of_wire(&[shared()]).to_wire()), of_wire(&[shared()]));
}

#[test]
fn what_is_allocated_to_a_role_is_of_its_own_kind() {
    let to = |role: &str| {
        let info = AllocationInfo { role: Some(role.to_owned()) };
        of_wire(&[v1::Resource { allocation_info: Some(info), ..message("cpus", 1.0) }])
    };
    assert_ne!(to("a"), to("b"));
    assert!(!to("a").contains(&of("cpus:1")));
    let mut both = to("a");
    both.add(&to("b"));
    assert_eq!((both.iter().count(), both.cpus()), (2, Milli::from_millis(2000)));
    assert_eq!(both.allocated_to(None), of("cpus:2"), "without it they are one");
    assert_eq!(of("cpus:1").allocated_to(Some(&Role::new("a").unwrap())), to("a"));
}

#[test]
fn quantities_count_scalars_of_all_kinds_by_name() {
    let quantities = of("cpus:1;cpus(a):2;mem:5;ports:[1-9];disks:{a}").quantities();
    let told: Vec<String> = quantities.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    assert_eq!(told, ["cpus=3", "mem=5"]);
    let all = of("cpus:1;mem:5;ports:[1-3]");
    assert_eq!((all.scalar("mem"), all.scalar("gpus")), (Milli::from_millis(5000), Milli::ZERO));
    assert_eq!(all.ports().pairs(), [(1, 3)]);
}

#[test]
fn a_shortfall_takes_what_is_there() {
    let mut have = of("cpus:3;ports:[1-5]");
    have.subtract_up_to(&of("cpus:5;mem:7;ports:[4-9]"));
    assert_eq!(have, of("ports:[1-3]"));
}

#[test]
fn a_scalar_is_made_by_name() {
    let one = Resource::scalar("cpus", Milli::from_millis(500));
    assert_eq!([one].into_iter().collect::<Resources>(), of("cpus:0.5"));
}
