//! An object store of our own: small, in memory, in this process. It speaks as much of S3, or of Google's XML, as the client
//! uses, and can be made to break promises.

pub(crate) mod http;
mod objects;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

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
}

impl Server {
    pub(crate) fn start(dialect: Dialect) -> Self {
        Self::start_with(dialect, Promise::all())
    }

    /// Starts a server that keeps only some promises.
    pub(crate) fn start_with(dialect: Dialect, kept: Promise) -> Self {
        let listener = bound();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(World { objects: Objects::new(dialect, kept), skew: AtomicI64::new(0) });
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
        let response = world.answer(&request);
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

    fn answer(&self, request: &Request) -> Response {
        let now = self.now();
        self.objects.answer(request, now).with("date", &http::date(now))
    }
}
