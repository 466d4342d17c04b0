//! The link to the leading master: found through the detector, made again whenever it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coordination::{Leader, LeaderAddress, LeaderDetector};
use hyper_util::rt::TokioIo;
use model::random::Random;
use security::ClientTls;
use security::credentials::Credential;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use wire::link::agent_link_client::AgentLinkClient;
use wire::link::{self, FromAgent, from_agent};

use super::start::random;
use crate::logic::{Event, LinkId};

/// Messages that may wait for the master; one that does not drain is left.
const OUTBOX: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A master that says nothing for the first time is asked, and left if it doesn't answer in the second.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Between two tries to connect; doubles up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A link that lasted this long was a good one, and so was one on which the master spoke, unless the agent left it: the
/// next try comes soon.
const GOOD: Duration = Duration::from_secs(10);
/// How long the last words may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the loop asks of the link.
#[derive(Debug)]
pub(crate) enum LinkOrder {
    /// Look for the master, from now on.
    Connect,
    /// Drop this link and make another.
    Reconnect(LinkId),
    /// Say something on this link.
    Say(LinkId, Box<from_agent::Body>),
}

/// How the master is reached, and as whom.
pub(crate) struct Reach {
    pub(crate) tls: Option<ClientTls>,
    pub(crate) login: Option<Credential>,
    /// Random in [0, this] passes before each try. Mesos: `--registration_backoff_factor`, so that a new master is not
    /// overrun. Before the connection is made, not after: a master waits for the first message of a link for seconds only.
    pub(crate) spread: Duration,
}

/// The task that keeps the link. It ends, after its last words, when the orders do.
pub(crate) struct MasterLink {
    detector: Arc<dyn LeaderDetector>,
    reach: Reach,
    orders: mpsc::UnboundedReceiver<LinkOrder>,
    events: mpsc::Sender<Event>,
    links: u64,
    address: watch::Sender<Option<LeaderAddress>>,
    /// The master that the last try was about.
    tried: Option<LeaderAddress>,
    random: Random,
}

/// Why a link ended.
enum Ended {
    /// Another is to be made.
    Lost,
    /// The same, of one that was good.
    Broken,
    /// The agent ends.
    Closed,
}

impl MasterLink {
    pub(crate) fn new(
        detector: Arc<dyn LeaderDetector>,
        reach: Reach,
        orders: mpsc::UnboundedReceiver<LinkOrder>,
        events: mpsc::Sender<Event>,
        address: watch::Sender<Option<LeaderAddress>>,
    ) -> MasterLink {
        let random = Random::new(u64::from_le_bytes(random()));
        MasterLink { detector, reach, orders, events, links: 0, address, tried: None, random }
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.orders.recv().await {
                Some(LinkOrder::Connect) => break,
                Some(_) => {}
                None => return,
            }
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let began = tokio::time::Instant::now();
            pause = match self.once().await {
                Ended::Closed => return,
                Ended::Broken => FIRST_PAUSE,
                Ended::Lost if began.elapsed() > GOOD => FIRST_PAUSE,
                Ended::Lost => (pause * 2).min(LONGEST_PAUSE),
            };
            // The pause spares a master that was tried; a new leader has not been.
            let another = another(self.detector.leader(), self.tried.clone());
            let paused = async move {
                tokio::select! {
                    () = tokio::time::sleep(pause) => false,
                    () = another => true,
                }
            };
            match self.wait(paused).await {
                None => return,
                Some(true) => pause = FIRST_PAUSE,
                Some(false) => {}
            }
        }
    }

    /// Waits for something while orders for links that are gone are thrown away; none when the agent ends.
    async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                order = self.orders.recv() => { order?; }
            }
        }
    }

    /// One link, from looking for the master to its end.
    async fn once(&mut self) -> Ended {
        let mut leader = self.detector.leader();
        let found = found(&mut leader, self.reach.spread.mul_f64(self.random.unit()));
        let address = match self.wait(found).await {
            None => return Ended::Closed,
            Some(None) => return Ended::Lost,
            Some(Some(address)) => address,
        };
        self.tried = Some(address.clone());
        // The host of a leader that is gone answers nothing for a long time.
        let another = another(self.detector.leader(), self.tried.clone());
        let connecting = connect(address.clone(), self.reach.tls.clone());
        let connected = async {
            tokio::select! {
                connected = connecting => Some(connected),
                () = another => None,
            }
        };
        let channel = match self.wait(connected).await {
            None => return Ended::Closed,
            Some(Some(Ok(channel))) => channel,
            Some(None) => {
                tracing::info!(master = %address, "another master leads");
                return Ended::Lost;
            }
            Some(Some(Err(error))) => {
                tracing::warn!(master = %address, "can't connect to the master: {}", crate::chain(&error));
                return Ended::Lost;
            }
        };
        self.links += 1;
        let link = LinkId(self.links);
        tracing::info!(master = %address, "connected to the master");
        self.address.send_replace(Some(address.clone()));
        let ended = self.converse(link, address, channel, leader).await;
        self.address.send_replace(None);
        if self.events.send(Event::LinkLost { link }).await.is_err() {
            return Ended::Closed;
        }
        ended
    }

    async fn converse(
        &mut self,
        link: LinkId,
        address: LeaderAddress,
        channel: Channel,
        mut leader: watch::Receiver<Option<Leader>>,
    ) -> Ended {
        let (outbox, outgoing) = mpsc::channel::<FromAgent>(OUTBOX);
        let client = AgentLinkClient::new(channel)
            .max_decoding_message_size(link::MAX_FROM_MASTER)
            .max_encoding_message_size(link::MAX_FROM_AGENT);
        if self.events.send(Event::LinkUp { link }).await.is_err() {
            return Ended::Closed;
        }
        let spoken = AtomicBool::new(false);
        let hear = hear(link, client, self.greeting(outgoing), self.events.clone(), &spoken);
        tokio::pin!(hear);
        let moved = async {
            let moved = |now: &Option<Leader>| now.as_ref().map(|leader| &leader.address) != Some(&address);
            if leader.wait_for(moved).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(moved);
        loop {
            tokio::select! {
                why = &mut hear => {
                    tracing::warn!(master = %address, "the link to the master ended: {why}");
                    return if spoken.load(Ordering::Relaxed) { Ended::Broken } else { Ended::Lost };
                }
                () = &mut moved => {
                    tracing::info!(master = %address, "another master leads");
                    return Ended::Lost;
                }
                order = self.orders.recv() => match order {
                    None => {
                        // What was said goes out before the link closes.
                        drop(outbox);
                        let _ = tokio::time::timeout(LAST_WORDS, hear).await;
                        return Ended::Closed;
                    }
                    Some(LinkOrder::Say(on, body)) if on == link => {
                        if outbox.try_send(FromAgent { body: Some(*body) }).is_err() {
                            tracing::warn!(master = %address, "the master does not take what it is told");
                            return Ended::Lost;
                        }
                    }
                    Some(LinkOrder::Reconnect(on)) if on == link => return Ended::Lost,
                    Some(_) => {}
                }
            }
        }
    }
}

/// Waits until a master leads, and for `spread` at least; none when nobody will ever.
async fn found(leader: &mut watch::Receiver<Option<Leader>>, spread: Duration) -> Option<LeaderAddress> {
    let due = tokio::time::sleep(spread);
    tokio::pin!(due);
    loop {
        // A detector that is gone keeps its last answer.
        let found =
            leader.wait_for(Option::is_some).await.ok()?.as_ref().map(|leader| leader.address.clone());
        tokio::select! {
            () = &mut due => return found,
            Ok(()) = leader.changed() => {}
        }
    }
}

/// Waits until a master leads that is another one than `tried`.
async fn another(mut leader: watch::Receiver<Option<Leader>>, tried: Option<LeaderAddress>) {
    let is_another =
        |now: &Option<Leader>| now.as_ref().is_some_and(|leader| Some(&leader.address) != tried.as_ref());
    if leader.wait_for(is_another).await.is_err() {
        // A detector that is gone keeps its last answer.
        std::future::pending::<()>().await;
    }
}

impl MasterLink {
    /// What a link begins with: who this agent is, if it has been told, and all that it will say.
    fn greeting(&self, outgoing: mpsc::Receiver<FromAgent>) -> Request<ReceiverStream<FromAgent>> {
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let login =
            self.reach.login.as_ref().and_then(|login| login.basic().parse::<AsciiMetadataValue>().ok());
        if let Some(mut login) = login {
            login.set_sensitive(true);
            request.metadata_mut().insert("authorization", login);
        }
        request
    }
}

async fn connect(address: LeaderAddress, tls: Option<ClientTls>) -> Result<Channel, tonic::transport::Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true);
    let Some(tls) = tls else { return endpoint.connect().await };
    let secure = tower::service_fn(move |_: http::Uri| {
        let (address, tls) = (address.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            stream.set_nodelay(true)?;
            tls.connect(&address.host, stream).await.map(TokioIo::new)
        }
    });
    endpoint.connect_with_connector(secure).await
}

/// Passes on what the master says, until the link ends; gives the reason. `spoken` tells whether it said anything.
async fn hear(
    link: LinkId,
    mut client: AgentLinkClient<Channel>,
    outgoing: Request<ReceiverStream<FromAgent>>,
    events: mpsc::Sender<Event>,
    spoken: &AtomicBool,
) -> String {
    let mut incoming = match client.attach(outgoing).await {
        Ok(response) => response.into_inner(),
        Err(status) => return describe(&status),
    };
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                spoken.store(true, Ordering::Relaxed);
                let Some(body) = message.body else { continue };
                let said = Event::LinkSays { link, epoch: message.epoch, body: Box::new(body) };
                if events.send(said).await.is_err() {
                    return "the agent ends".to_owned();
                }
            }
            Ok(None) => return "the master closed it".to_owned(),
            Err(status) => return describe(&status),
        }
    }
}

/// With what it comes from: that is where TLS says why.
fn describe(status: &tonic::Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = std::error::Error::source(status) {
        text.push_str(": ");
        text.push_str(&crate::chain(source));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;

    struct Told(watch::Sender<Option<Leader>>);

    impl LeaderDetector for Told {
        fn leader(&self) -> watch::Receiver<Option<Leader>> {
            self.0.subscribe()
        }
    }

    fn at(address: SocketAddr) -> Option<Leader> {
        Some(Leader::from(LeaderAddress { host: address.ip().to_string(), port: address.port() }))
    }

    /// An address that answers no more than one connection: as that of a host that is gone.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut taken = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            taken.push(connected.unwrap());
        }
        (listener, taken)
    }

    #[tokio::test]
    async fn a_new_leader_is_tried_while_the_former_one_does_not_answer() {
        let (former, _taken) = silent().await;
        let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let told = watch::Sender::new(at(former.local_addr().unwrap()));
        let (order, orders) = mpsc::unbounded_channel();
        let (events, _heard) = mpsc::channel(1);
        let nowhere = Reach { tls: None, login: None, spread: Duration::ZERO };
        let link =
            MasterLink::new(Arc::new(Told(told.clone())), nowhere, orders, events, watch::Sender::new(None));
        let running = tokio::spawn(link.run());
        order.send(LinkOrder::Connect).unwrap();
        // It looks for the leader and then at who leads, once each while it tries.
        let trying = told.clone();
        while trying.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
        told.send_replace(at(next.local_addr().unwrap()));
        let came = tokio::time::timeout(CONNECT_TIMEOUT / 2, next.accept()).await;
        assert!(came.is_ok(), "it waits for the former one");
        running.abort();
    }

    #[tokio::test]
    async fn a_leader_is_left_alone_for_a_while_and_another_is_not_waited_for_anew() {
        let (one, two) = (at("127.0.0.1:1".parse().unwrap()), at("127.0.0.1:2".parse().unwrap()));
        let (told, mut leader) = watch::channel(one);
        let (spread, began) = (Duration::from_millis(100), tokio::time::Instant::now());
        let changes = async {
            tokio::task::yield_now().await;
            told.send_replace(two.clone());
        };
        let (heard, ()) = tokio::join!(found(&mut leader, spread), changes);
        assert_eq!(heard, two.map(|leader| leader.address));
        assert!(began.elapsed() >= spread, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn only_another_leader_is_news() {
        let (one, two) = (at("127.0.0.1:1".parse().unwrap()), at("127.0.0.1:2".parse().unwrap()));
        let tried = one.as_ref().map(|leader| leader.address.clone());
        let (told, leader) = watch::channel(one.clone());
        let news = another(leader, tried);
        tokio::pin!(news);
        for same in [None, one] {
            told.send_replace(same);
            assert!(tokio::time::timeout(Duration::from_millis(20), &mut news).await.is_err());
        }
        told.send_replace(two);
        news.await;
    }
}
