//! A bad network: passes requests on to a server, and loses, delays and cuts as a seed says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::server::bound;
use super::server::http::{Request, read_request, read_response};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is answered.
    Passed,
    /// The connection is reset before the server has seen it.
    Reset,
    /// The connection ends before the server has seen it.
    Lost,
    /// The server does what it asks, and the connection ends without an answer.
    Swallowed,
    /// The server does what it asks, and the answer ends in the middle.
    Cut,
    /// The connection ends, and the server sees the request some time later.
    Late,
    /// The server does what it asks, and the answer comes when nobody waits any more.
    Stalled,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    network: Arc<Network>,
    _running: JoinSet<()>,
}

#[derive(Debug)]
struct Network {
    server: SocketAddr,
    random: Mutex<SmallRng>,
    /// How long nobody waits for an answer.
    patience: Duration,
    calm: AtomicBool,
    /// How many more replaces of a branch there are until the network is gone for a while; 0: it never is.
    until_outage: AtomicU64,
    outage_ends: Mutex<Option<Instant>>,
    under_way: AtomicU64,
    faults: AtomicU64,
}

impl Proxy {
    /// Begins to pass on to `endpoint` what clients that wait for `patience` send.
    pub(crate) fn start(endpoint: &str, seed: u64, patience: Duration) -> Self {
        let server = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = bound();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let network = Arc::new(Network {
            server,
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            patience,
            calm: AtomicBool::new(false),
            until_outage: AtomicU64::new(if seed.is_multiple_of(10) { 2 + seed / 10 % 8 } else { 0 }),
            outage_ends: Mutex::new(None),
            under_way: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        let mut running = JoinSet::new();
        let shared = Arc::clone(&network);
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move { shared.serve(stream).await });
            }
        });
        Self { endpoint, network, _running: running }
    }

    /// Ends all faults and waits until nothing is under way any more.
    pub(crate) async fn calm(&self) {
        self.network.calm.store(true, Ordering::SeqCst);
        while self.network.under_way.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many requests were not simply answered.
    pub(crate) fn faults(&self) -> u64 {
        self.network.faults.load(Ordering::Relaxed)
    }
}

impl Network {
    fn fate(&self, request: &Request) -> Fate {
        if self.calm.load(Ordering::SeqCst) {
            return Fate::Passed;
        }
        let random = self.random.lock().unwrap().random_range(0..100);
        let mut outage_ends = self.outage_ends.lock().unwrap();
        if outage_ends.is_some_and(|end| Instant::now() < end) {
            return Fate::Lost;
        }
        let counts = request.method == "PUT" && request.path.ends_with("refs/branches/main.json");
        if counts && self.until_outage.load(Ordering::Relaxed) > 0 && self.until_outage.fetch_sub(1, Ordering::Relaxed) == 1 {
            *outage_ends = Some(Instant::now() + self.outage());
            return [Fate::Lost, Fate::Swallowed, Fate::Late][random % 3];
        }
        let fate = match random {
            0..4 => Fate::Reset,
            4..7 => Fate::Lost,
            7..13 => Fate::Swallowed,
            13..16 => Fate::Cut,
            16..19 => Fate::Late,
            19 => Fate::Stalled,
            _ => Fate::Passed,
        };
        if fate != Fate::Passed {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        fate
    }

    /// Longer than anybody goes on asking.
    fn outage(&self) -> Duration {
        self.patience * 14
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut client = BufStream::new(stream);
        while let Ok(Some(request)) = read_request(&mut client).await {
            let fate = self.fate(&request);
            self.under_way.fetch_add(1, Ordering::SeqCst);
            let goes_on = self.pass(&mut client, request, fate).await;
            if fate != Fate::Late {
                self.under_way.fetch_sub(1, Ordering::SeqCst);
            }
            if !goes_on {
                break;
            }
        }
    }

    /// Whether the connection goes on.
    async fn pass(self: &Arc<Self>, client: &mut BufStream<TcpStream>, request: Request, fate: Fate) -> bool {
        match fate {
            Fate::Reset => {
                // Without lingering, closing sends a reset.
                client.get_ref().set_zero_linger().unwrap();
                return false;
            }
            Fate::Lost => return false,
            Fate::Late => {
                let network = Arc::clone(self);
                let mut wait = self.patience.mul_f64(self.random.lock().unwrap().random_range(0.01..1.0));
                if let Some(end) = *self.outage_ends.lock().unwrap() {
                    wait += end.saturating_duration_since(Instant::now());
                }
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    let _answer = network.ask(&request).await;
                    network.under_way.fetch_sub(1, Ordering::SeqCst);
                });
                return false;
            }
            Fate::Passed | Fate::Swallowed | Fate::Cut | Fate::Stalled => {}
        }
        let Some(mut answer) = self.ask(&request).await else { return false };
        match fate {
            Fate::Swallowed => return false,
            Fate::Cut => answer.truncate(answer.len() / 2),
            Fate::Stalled => tokio::time::sleep(self.patience * 2).await,
            _ => {}
        }
        client.write_all(&answer).await.is_ok() && client.flush().await.is_ok() && fate == Fate::Passed
    }

    /// Sends a request to the server as it came, and gives its answer as it comes.
    async fn ask(&self, request: &Request) -> Option<Vec<u8>> {
        let stream = TcpStream::connect(self.server).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut server = BufStream::new(stream);
        server.write_all(&request.raw).await.ok()?;
        server.flush().await.ok()?;
        read_response(&mut server, request.method == "HEAD").await.ok()?
    }
}
