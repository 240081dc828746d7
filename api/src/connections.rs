//! Connections on which nothing happens. The framework gives the first request of a connection its time, and none to
//! those after it: whoever sent one, and then a byte of the next, held a connection for ever.

use std::{
    any::Any,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    Error,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Extensions, ServiceRequest, ServiceResponse},
    middleware::Next,
    rt::net::TcpStream,
};
use rest::{hold, principal::network_of};
use socket2::{SockRef, Socket};

/// A connection without a request is ended after this. Kept ones end sooner by themselves.
const IDLE_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Of all connections, what those of one network may take.
const NETWORK_SHARE: usize = 4;

/// The connections of a server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    network_max: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
    networks: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    /// A second handle: ending it cannot hit another connection, whatever number the first one's file had.
    socket: Socket,
    network: Option<IpAddr>,
    running: AtomicUsize,
    /// When the last request ended, in milliseconds since the process began to count.
    quiet_since: AtomicU64,
}

/// Lives as long as its connection.
#[derive(Debug)]
struct Handle {
    id: u64,
    connection: Arc<Connection>,
    connections: Connections,
}

/// A request that runs.
#[derive(Debug)]
struct ActiveRequest(Arc<Connection>);

impl Connections {
    /// `most` connections in all.
    pub(crate) fn new(most: usize) -> Self {
        Self { network_max: (most / NETWORK_SHARE).max(1), open: Arc::default() }
    }

    /// For `HttpServer::on_connect`.
    pub(crate) fn note(&self, connection: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
        let Ok(socket) = SockRef::from(stream).try_clone() else { return };
        let network = stream.peer_addr().ok().map(|address| network_of(address.ip()));
        let quiet_since = AtomicU64::new(now_ms());
        let connection =
            Arc::new(Connection { socket, network, running: AtomicUsize::new(0), quiet_since });
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&connection));
        if let Some(network) = network {
            let held = open.networks.entry(network).or_default();
            *held += 1;
            // Behind a proxy all are of one network, which has a quarter then.
            if *held > self.network_max {
                connection.end();
            }
        }
        drop(open);
        extensions.insert(Handle { id, connection, connections: self.clone() });
    }

    /// Ends what has no request for too long, until the future is dropped.
    pub(crate) async fn keep_ending_idle(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.end_idle();
        }
    }

    fn end_idle(&self) {
        let limit = u64::try_from(IDLE_MAX.as_millis()).unwrap_or(u64::MAX);
        let now = now_ms();
        for connection in self.lock().connections.values() {
            if connection.running.load(Ordering::Acquire) == 0
                && now.saturating_sub(connection.quiet_since.load(Ordering::Acquire)) > limit
            {
                metrics::counter!("http_idle_connections_ended_total").increment(1);
                connection.end();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn end(&self) {
        // One that is over already is no error.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.connections.remove(&self.id);
        if let Some(network) = self.connection.network
            && let Some(held) = open.networks.get_mut(&network)
        {
            *held -= 1;
            if *held == 0 {
                open.networks.remove(&network);
            }
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.quiet_since.store(now_ms(), Ordering::Release);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Milliseconds on a clock that only goes on.
fn now_ms() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Says that a request runs, until its answer is read. For `App::wrap(middleware::from_fn(…))`, outermost.
pub(crate) async fn note_request(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.conn_data::<Handle>().map(|handle| Arc::clone(&handle.connection));
    let Some(connection) = connection else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    connection.running.fetch_add(1, Ordering::AcqRel);
    let running = ActiveRequest(connection);
    let response = next.call(request).await?.map_into_boxed_body();
    if response.response().body().size() == BodySize::None {
        return Ok(response);
    }
    Ok(hold(response, running))
}
