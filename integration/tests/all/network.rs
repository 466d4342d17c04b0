//! The network of test hosts itself: its lines are cut and healed, and the machine has none of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use integration::eventually::PATIENCE;
use integration::{Network, OrFail, needs};

/// Whether what one end of a connection says arrives at the other, soon.
fn heard(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"?").or_fail("writing");
    arrives(to, Duration::from_millis(300))
}

fn arrives(at: &mut TcpStream, limit: Duration) -> bool {
    at.set_read_timeout(Some(limit)).or_fail("setting a limit");
    at.read_exact(&mut [0]).is_ok()
}

/// This thread's namespace, and how many devices there are.
fn whereabouts() -> (std::path::PathBuf, usize) {
    let namespace = fs::read_link("/proc/thread-self/ns/net").or_fail("a namespace");
    let devices = fs::read_to_string("/proc/thread-self/net/dev").or_fail("the devices");
    (namespace, devices.lines().count())
}

#[test]
fn lines_are_cut_in_one_direction_and_healed_and_the_machine_has_none_of_it() {
    needs!("ip", "nft", "nsenter", "unshare");
    let before = whereabouts();
    let network = Network::of(2);
    assert_ne!(whereabouts().0, before.0, "the test is on the first host");
    let (here, there) = (network.host(0), network.host(1));
    // Sockets are of the host that their thread is on when it makes them.
    let other = there.clone();
    let listener = std::thread::spawn(move || {
        other.enter();
        TcpListener::bind(other.socket(1000)).or_fail("listening")
    });
    let listener = listener.join().or_fail("a listener");
    let mut near = TcpStream::connect(there.socket(1000)).or_fail("connecting");
    let (mut far, peer) = listener.accept().or_fail("a connection");
    assert_eq!(peer.ip(), here.ip);
    assert!(heard(&mut near, &mut far) && heard(&mut far, &mut near));
    network.drop_from(std::slice::from_ref(&here), std::slice::from_ref(&there));
    assert!(!heard(&mut near, &mut far), "it arrives all the same");
    network.heal();
    assert!(arrives(&mut far, PATIENCE), "what was lost is not sent again");
    network.part(&[here], &[there]);
    assert!(!heard(&mut far, &mut near), "it arrives all the same");
    network.heal();
    assert!(arrives(&mut near, PATIENCE), "what was lost is not sent again");
    drop(network);
    assert_eq!(whereabouts(), before, "the thread is back, and the machine has no device more");
}
