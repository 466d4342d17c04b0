//! Which failures are worth another try, by what the HTTP client really says of them.

use std::io::Write as _;
use std::net::TcpListener;

use reqwest::dns::{Name, Resolve, Resolving};

use super::*;

/// Says this of every name.
struct Says(fn() -> NoAddress);

impl Resolve for Says {
    fn resolve(&self, _: Name) -> Resolving {
        let error = (self.0)();
        Box::pin(async move { Err(error.into()) })
    }
}

async fn failed(url: &str, names: fn() -> NoAddress) -> RegistryError {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().dns_resolver(Says(names));
    let client = builder.timeout(std::time::Duration::from_secs(10)).build().unwrap();
    let source = Arc::new(client.get(url).send().await.unwrap_err());
    RegistryError::Unreachable { registry: "r".into(), what: "x".into(), source }
}

fn unknown() -> NoAddress {
    NoAddress::Unknown(io::Error::other("nobody knows it"))
}

/// An address whose connections are answered with this and ended.
fn answering(answer: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.write_all(answer);
        }
    });
    address
}

#[tokio::test]
async fn what_will_hardly_pass_is_not_waited_for() {
    let name = failed("http://r.example/", unknown).await;
    assert_eq!(name.cost(), Some(DEAR), "{name:?}");
    assert!(name.in_short().contains("can't be reached (nobody knows it)"), "{}", name.in_short());
    let forbidden = failed("http://r.example/", || NoAddress::Forbidden("r.example".into())).await;
    assert_eq!(forbidden.cost(), None, "{forbidden:?}");
    let plain =
        failed(&format!("https://{}/", answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")), unknown).await;
    assert_eq!(plain.cost(), None, "{plain:?}");
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = failed(&format!("http://{unused}/"), unknown).await;
    assert_eq!(refused.cost(), Some(1), "{refused:?}");
    assert!(refused.in_short().contains("Connection refused"), "{}", refused.in_short());
    for scheme in ["http", "https"] {
        let ended = failed(&format!("{scheme}://{}/", answering(b"")), unknown).await;
        assert_eq!(ended.cost(), Some(1), "{scheme}: {ended:?}");
    }
}
