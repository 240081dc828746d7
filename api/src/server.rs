//! The running system: everything opened, the routes bound, and the order in which it stops.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    middleware::{self, from_fn},
    web,
};
use futures::future::BoxFuture;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pipeline::Lakehouse;
use query::{
    Engine,
    cache::Cache,
    metric::Catalog,
    pool::{Launch, Pool},
    stored::Stored,
};
use rand::Rng;

use crate::{
    accounts::{self, Accounts, Devices},
    allocator,
    as_of::Seal,
    audit,
    body::{self, Bodies},
    clock::Clock,
    config::{self, Config},
    connections::{self, Connections},
    dashboards, dead_letters, erasure, events, figures, folder, health,
    imports::{self, ImportRecord},
    integrity, keys,
    lake::{self, OpenError},
    method,
    open_files::OpenFiles,
    openapi, pace, persons,
    principal::Gate,
    problem,
    queries::{self, Asker, Background, Runner},
    relay,
    store::{Store, StoreError},
    tasks::Tasks,
    upkeep,
};

/// Everything that the routes need. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    pub config: Config,
    pub clock: Clock,
    pub store: Store,
    pub lakehouse: Lakehouse,
    pub engine: Engine,
    pub(crate) runner: Runner,
    pub(crate) seal: Seal,
    pub(crate) background: Background,
    pub catalog: Catalog,
    /// Admits commands on this machine that can read `server.json`.
    pub local_token: String,
    devices: Devices,
    /// This program, to be started as a worker.
    pub program: PathBuf,
    recorder: PrometheusHandle,
    pub(crate) tasks: Tasks,
}

/// Why a server did not start. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0}")]
    Store(String),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the built-in metrics are not readable: {0}")]
    Catalog(String),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Store(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// How often the first page's answers are looked after.
const PREPARE_EVERY: Duration = Duration::from_secs(60);

/// How often memory that nobody needs is given back.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// Threads that speak HTTP; they do nothing else.
const HTTP_WORKERS: usize = 2;

/// Connections that wait for their requests to end are cut after this.
const SHUTDOWN_SECONDS: u64 = 5;

impl State {
    /// Opens the state, the log and the tables of a data folder. `program` is started as the query workers.
    pub async fn open(config: Config, clock: Clock, program: PathBuf) -> Result<Self, StartError> {
        // First, so that nothing is counted in vain.
        let recorder = recorder();
        let lakehouse = lake::open(&config).await?;
        if let Err(error) = ImportRecord::note_broken_off(&config.dir, lakehouse.cut().lsn) {
            tracing::warn!(%error, "imports that were broken off");
        }
        let store = Store::open(&folder::STATE.of(&config.dir)).await?;
        queries::give_up_unfinished(&store).await?;
        let handshake = lake::handshake(&config, lake::spill_dir(&config)?)?;
        integrity::begin(&config);
        let launch = Launch {
            program: program.clone(),
            argument: "query-worker",
            environment: &allocator::QUERIES,
            handshake,
        };
        let engine = Engine::Workers {
            strangers: Pool::new(launch.clone(), config.query.workers),
            reserved: Pool::reserved(launch.clone()),
            ahead: Pool::ahead(Launch { environment: &allocator::LEAN, ..launch }),
            cache: Cache::new(lakehouse.changes()),
        };
        let seal = lake::seal(&config)?;
        let tasks = Tasks::default();
        let runner = Runner::new(engine.clone(), clock.clone(), seal.clone(), tasks.clone());
        let kept = Stored::open(&lake::location(&config)?).map_err(OpenError::from)?;
        let background = Background::new(kept, config.query.workers / 2);
        let catalog = Catalog::built_in().map_err(|error| StartError::Catalog(error.message))?;
        let token: [u8; 24] = rand::rng().random();
        let devices = Devices::new(lake::device_key(&config.dir)?);
        let local_token = token.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            config,
            clock,
            store,
            lakehouse,
            engine,
            runner,
            seal,
            background,
            catalog,
            local_token,
            devices,
            program,
            recorder,
            tasks,
        })
    }

    /// Moves the log to the tables and lets go of everything.
    pub async fn close(self) -> Result<(), pipeline::Error> {
        self.lakehouse.close().await
    }

    /// The routes, with everything they need: what a server serves, and what tests call.
    pub fn routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
        let gate = Gate::new(self.store.clone(), self.clock.clone())
            .with_local_token(&self.local_token)
            .with_secure_cookie(self.config.server.secure_cookie)
            .with_trusted_proxies(self.config.server.trusted_proxies.clone());
        let gate = web::Data::new(gate);
        let bodies = web::Data::new(Bodies::default());
        let accounts = Accounts::new(self.store.clone(), &self.clock);
        let accounts = web::Data::new(accounts.with_devices(self.devices.clone()));
        let measured: web::Data<config::Metrics> = web::Data::new(self.config.metrics.clone());
        let store = web::Data::new(self.store.clone());
        let lakehouse = web::Data::new(self.lakehouse.clone());
        let runner = web::Data::new(self.runner.clone());
        let background = web::Data::new(self.background.clone());
        let clock = web::Data::new(self.clock.clone());
        let recorder = web::Data::new(self.recorder.clone());
        let events = events::configure(&self.config, self.seal.clone());
        let readers = web::Data::new(self.runner.readers.clone());
        let asker = web::Data::new(Asker {
            lakehouse: self.lakehouse.clone(),
            engine: self.engine.clone(),
            catalog: self.catalog.clone(),
            runner: self.runner.clone(),
            clock: self.clock.clone(),
            store: self.store.clone(),
            limits: self.config.query.clone(),
            seal: self.seal.clone(),
        });
        let state = web::Data::new(self.clone());
        move |routes| {
            routes
                .app_data(gate.clone())
                .app_data(bodies.clone())
                .app_data(accounts.clone())
                .app_data(store.clone())
                .app_data(lakehouse.clone())
                .app_data(asker.clone())
                .app_data(runner.clone())
                .app_data(background.clone())
                .app_data(clock.clone())
                .app_data(recorder.clone())
                .app_data(measured.clone())
                .app_data(readers.clone())
                .app_data(state.clone())
                .configure(health::configure)
                .configure(integrity::configure)
                .configure(openapi::configure)
                .configure(accounts::configure)
                .configure(audit::configure)
                .configure(keys::configure)
                .configure(queries::configure)
                .configure(persons::configure)
                .configure(figures::configure)
                .configure(dashboards::configure)
                .configure(dead_letters::configure)
                .configure(erasure::configure)
                .configure(imports::configure)
                .configure(events.clone())
                .default_service(web::to(method::no_route));
        }
    }

    /// The HTTP server on a listener.
    fn serve(&self, listener: TcpListener) -> io::Result<(Server, Connections)> {
        let routes = self.routes();
        let files = OpenFiles::raise();
        let open = Connections::new(files.connections);
        let noted = open.clone();
        let server = HttpServer::new(move || {
            App::new()
                .wrap(from_fn(method::explain))
                .wrap(from_fn(pace::share))
                .wrap(middleware::Compress::default())
                .wrap(from_fn(problem::stamp))
                .wrap(from_fn(body::end_unread))
                // Around all others: what they make of a body leaves in pieces.
                .wrap(from_fn(pace::pace))
                .wrap(from_fn(connections::note_request))
                .configure(routes.clone())
        })
        .workers(HTTP_WORKERS)
        // Of each worker; beyond that connections wait to be accepted.
        .max_connections((files.connections / HTTP_WORKERS).max(1))
        .on_connect(move |connection, extensions| {
            pace::watch(connection, extensions);
            noted.note(connection, extensions);
        })
        // A client that closes its side is gone: its query must not go on.
        .h1_allow_half_closed(false)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals()
        .listen(listener)?;
        Ok((server.run(), open))
    }

    /// Listens, and starts the work in the background.
    pub fn start(self) -> Result<Running, StartError> {
        let address = SocketAddr::new(self.config.server.bind, self.config.server.port);
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let (server, open) = self.serve(listener).map_err(listen)?;
        let handle = server.handle();
        self.tasks.rely_on("http", async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        let url = format!("http://{bound}");
        self.supervise(open, &url);
        Ok(Running { url, state: self, handle })
    }

    /// Begins what goes on beside the requests.
    fn supervise(&self, open: Connections, url: &str) {
        let keep = |name, task: fn(Self) -> BoxFuture<'static, ()>| {
            let state = self.clone();
            self.tasks.keep(name, move || task(state.clone()));
        };
        keep("mover", |state| Box::pin(async move { state.lakehouse.run().await }));
        keep("relay", |state| {
            Box::pin(async move { relay::run(&state.store, &state.lakehouse).await })
        });
        keep("upkeep", |state| Box::pin(async move { upkeep::run(&state).await }));
        keep("history", |state| {
            Box::pin(async move {
                queries::keep(&state.runner, &state.background, &state.store, &state.clock).await;
            })
        });
        keep("departed", |state| {
            Box::pin(async move { queries::watch_departed(&state.runner, &state.store).await })
        });
        keep("first_page", |state| Box::pin(async move { warm(&state).await }));
        keep("memory", |state| Box::pin(async move { give_back(&state).await }));
        self.tasks.keep("connections", move || {
            let open = open.clone();
            async move {
                loop {
                    tokio::time::sleep(connections::LOOK_EVERY).await;
                    open.end_idle();
                }
            }
        });
        let (checked, url) = (self.clone(), url.to_owned());
        self.tasks.keep("check", move || {
            let (state, url) = (checked.clone(), url.clone());
            async move { integrity::run(&state, &url).await }
        });
        let erased = self.clone();
        self.tasks.run("erasure", async move { erasure::run(&erased).await });
    }
}

/// Starts the workers, and asks the two dozen questions of the first page. Their answers stay true until the day ends,
/// or a row of an earlier day comes.
async fn warm(state: &State) {
    state.engine.warm().await;
    loop {
        dashboards::prepare(state).await;
        tokio::time::sleep(PREPARE_EVERY).await;
    }
}

/// Gives memory back that nobody needs.
async fn give_back(state: &State) {
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        // Times are kept one by one until somebody asks for the metrics, or this.
        state.recorder.run_upkeep();
        state.engine.trim().await;
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    pub url: String,
    pub state: State,
    handle: ServerHandle,
}

impl Running {
    /// Completes when the process must end, and says why: the log cannot be written any more, or nobody is served.
    pub async fn broken(&self) -> &'static str {
        tokio::select! {
            () = self.state.lakehouse.broken() => "the log could not be written",
            () = self.state.tasks.failed() => "the HTTP server ended",
        }
    }

    /// Stops in order: no new requests, the old ones answered, then the log is moved to the tables.
    pub async fn stop(self) {
        self.state.tasks.prepare_to_stop();
        self.handle.stop(true).await;
        self.state.tasks.stop().await;
        self.state.engine.stop().await;
        let written = queries::write_ended(&self.state.runner, &self.state.store).await;
        if let Err(error) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last queries");
        }
        if let Err(error) = relay::drain(&self.state.store, &self.state.lakehouse).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the outbox waits for the next start"
            );
        }
        let closing = tokio::time::timeout(Duration::from_secs(30), self.state.lakehouse.close());
        match closing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "rows stay in the log until the next start"
                );
            }
            Err(_) => tracing::warn!("rows stay in the log until the next start"),
        }
    }
}

/// Seconds; an fsync takes 0.2 ms on a good disk and 100 ms on a bad day.
const FSYNC_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// One recorder per process: tests open several servers in one.
fn recorder() -> PrometheusHandle {
    static RECORDER: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let fsync = Matcher::Full(pipeline::FSYNC_SECONDS.to_owned());
            let builder = PrometheusBuilder::new();
            // Only without a bucket would it be refused.
            let builder = builder.set_buckets_for_metric(fsync, &FSYNC_BUCKETS).unwrap_or_default();
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // A second recorder would be refused; the lock above lets only one come here.
            let _ = metrics::set_global_recorder(recorder);
            handle
        })
        .clone()
}
