//! A bad network: passes requests on to a server, and loses, delays and cuts as a seed says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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
    under_way: AtomicU64,
    faults: AtomicU64,
}

impl Proxy {
    /// Begins to pass on to `endpoint` what clients that wait for `patience` send.
    pub(crate) async fn start(endpoint: &str, seed: u64, patience: Duration) -> Self {
        let server = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let network = Arc::new(Network {
            server,
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            patience,
            calm: AtomicBool::new(false),
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
    fn fate(&self) -> Fate {
        if self.calm.load(Ordering::SeqCst) {
            return Fate::Passed;
        }
        let fate = match self.random.lock().unwrap().random_range(0..100) {
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

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut client = BufStream::new(stream);
        while let Ok(Some(request)) = read_request(&mut client).await {
            let fate = self.fate();
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
                let wait = self.random.lock().unwrap().random_range(1..self.patience.as_millis() as u64);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
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
