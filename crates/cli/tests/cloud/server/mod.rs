//! An object store of our own: small, in memory, in this process. It speaks as much of S3, or of Google's XML, as the client
//! uses, and can be made to break promises.

pub(crate) mod http;
mod objects;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use firnline::{Clock as _, SystemClock, Timestamp};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use http::{Request, Response};
pub(crate) use objects::{Allowed, Dialect, Objects, Promise};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    endpoint: String,
    pub(crate) world: Arc<World>,
    _running: JoinSet<()>,
}

/// What all its connections share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) objects: Objects,
    /// How wrong its clock is, in microseconds.
    pub(crate) skew: AtomicI64,
    /// What a gateway before it does to each replace of a ref, in order; the last goes on for ever.
    gateway: Mutex<Vec<Meddling>>,
    asked: Mutex<Vec<String>>,
}

/// What a gateway does to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meddling {
    /// Whether it passes the request on.
    pub(crate) applied: bool,
    /// The status that it answers with, whatever the server said; `None`: it cuts the connection.
    pub(crate) status: Option<u16>,
}

impl Server {
    pub(crate) fn start(dialect: Dialect) -> Self {
        Self::start_with(dialect, Promise::all())
    }

    /// Starts a server that keeps only some promises.
    pub(crate) fn start_with(dialect: Dialect, kept: Promise) -> Self {
        let listener = bound();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(World {
            objects: Objects::new(dialect, kept),
            skew: AtomicI64::new(0),
            gateway: Mutex::default(),
            asked: Mutex::default(),
        });
        let mut running = JoinSet::new();
        let shared = Arc::clone(&world);
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { endpoint, world, _running: running }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }
}

/// A port of this machine that is free.
pub(crate) fn bound() -> TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

async fn serve(stream: TcpStream, world: Arc<World>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = tokio::io::BufStream::new(stream);
    while let Ok(Some(request)) = http::read_request(&mut stream).await {
        let Some(response) = world.answer(&request) else { break };
        let bytes = response.encode(request.method == "HEAD");
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().micros() + self.skew.load(Ordering::Relaxed))
    }

    /// From now on a gateway meddles with replaces of refs.
    pub(crate) fn meddle(&self, script: &[Meddling]) {
        *self.gateway.lock().unwrap() = script.to_vec();
    }

    /// Every request since the last time: the method, the path, and the range that was asked for.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Gives an object other bytes, or removes it, behind everybody's back.
    pub(crate) fn replace(&self, name: &str, bytes: Option<&[u8]>) {
        self.objects.replace(name, bytes, self.now());
    }

    /// `None`: nothing is answered.
    fn answer(&self, request: &Request) -> Option<Response> {
        let range = request.header("range").map(|range| format!(" {range}")).unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{} {}{range}", request.method, request.path));
        let now = self.now();
        let date = http::date(now);
        if request.method == "PUT" && request.path.contains("/refs/") {
            let mut script = self.gateway.lock().unwrap();
            let next = script.first().copied();
            if script.len() > 1 {
                script.remove(0);
            }
            if let Some(Meddling { applied, status }) = next {
                if applied {
                    self.objects.answer(request, now);
                }
                let body = "<?xml version=\"1.0\"?><Error><Code>Gateway</Code><Message>so it says</Message></Error>";
                return status.map(|status| Response::new(status, body).with("date", &date));
            }
        }
        Some(self.objects.answer(request, now).with("date", &date))
    }
}
