//! The running system: everything opened, the routes bound, and the order in which it stops.

use portal::{Portal, contract::Contract};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use accounts::{
    Devices, Directory, Secrets, Vault,
    plans::{Plans, PlansError},
};
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    middleware::{self, from_fn},
    web::{self, Data},
};
use analytics::{
    Lake,
    events::EventIntake,
    imports::ImportRecord,
    queries::{self, Background, Runner},
    reporting::{Reporting, RunFiles},
};
use billing::Billing;
use delivery::{Courier, HookAddress, Links};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use pipeline::Changes;
use query::{
    Engine,
    answer_store::AnswerStore,
    cache::Cache,
    metric::{CatalogError, read_catalog},
    pool::{Launch, Pool},
    worker::Handshake,
};
use rand::Rng;
use rest::{
    body,
    feature::{self, AppData},
    idempotency::{self, IdempotencySecret},
    pace,
    principal::Gate,
    problem::{self, Problem},
};
use state::{State, clock::Clock, store::StoreError};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    allocator,
    billed_usage::BilledUsage,
    config::Config,
    connections::{self, Connections},
    features::{self, OPERATIONS},
    integrity,
    lake::{self, OpenError},
    metering::Metering,
    method,
    open_files::OpenFiles,
    relay,
    request_log::RequestLog,
};

/// The whole system, open. Clones share it.
#[derive(Debug, Clone)]
pub struct System {
    pub config: Config,
    pub state: State,
    pub lake: Lake,
    pub(crate) directory: Directory,
    pub(crate) billing: Billing,
    pub(crate) portal: Portal,
    /// Admits commands on this machine that can read `server.json`.
    pub local_token: String,
    /// This program, to be started as a worker.
    pub program: PathBuf,
    pub(crate) recorder: PrometheusHandle,
    pub(crate) metering: Metering,
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
    #[error("metrics: {0}")]
    Catalog(#[from] CatalogError),
    #[error("plans: {0}")]
    Plans(#[from] PlansError),
    #[error("`plans.webhook`: {0}")]
    Webhook(String),
    #[error("{0}")]
    Billing(String),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Store(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// The query workers of a program.
fn engine(config: &Config, program: &Path, handshake: Handshake, changes: Changes) -> Engine {
    let launch = Launch {
        program: program.to_owned(),
        argument: "query-worker",
        environment: &allocator::QUERIES,
        handshake,
    };
    Engine::Workers {
        strangers: Pool::new(launch.clone(), config.query.workers),
        reserved: Pool::reserved(launch.clone()),
        ahead: Pool::ahead(Launch { environment: &allocator::LEAN, ..launch }),
        cache: Cache::new(changes),
    }
}

fn billing(config: &Config, lake: &Lake) -> Result<Billing, StartError> {
    let settings = billing::Settings {
        usage_kept_days: config.retention.usage_ledger,
        ..billing::Settings::clone(&config.billing)
    };
    let usage = Arc::new(BilledUsage { lake: lake.clone() });
    Billing::new(lake.state.clone(), usage, lake.courier.clone(), settings)
        .map_err(StartError::Billing)
}

fn portal(config: &Config, lake: &Lake, directory: &Directory) -> Portal {
    Portal {
        state: lake.state.clone(),
        directory: directory.clone(),
        courier: lake.courier.clone(),
        public_url: config.server.public_url.clone(),
        requests: Arc::new(RequestLog { lake: lake.clone() }),
    }
}

/// A token that nobody can guess.
fn local_token() -> String {
    let token: [u8; 24] = rand::rng().random();
    token.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The plans of the file that the settings name; without one, those of the program.
fn plans(config: &Config, clock: &Clock) -> Result<Plans, PlansError> {
    let file = &config.plans.file;
    Plans::read((!file.as_os_str().is_empty()).then_some(file.as_path()), clock)
}

/// Where thresholds of quotas are told; empty: nowhere. Fails where nothing would ever be sent to it.
fn quota_webhook(config: &Config) -> Result<&str, StartError> {
    let address = config.plans.webhook.as_str();
    if !address.is_empty() {
        HookAddress::parse(address, &config.hooks).map_err(StartError::Webhook)?;
    }
    Ok(address)
}

/// Threads that speak HTTP; they do nothing else.
const HTTP_WORKERS: usize = 2;

/// Connections that wait for their requests to end are cut after this.
const SHUTDOWN_SECONDS: u64 = 5;

impl System {
    /// Opens the state, the log and the tables of a data folder. `program` is started as the query workers.
    pub async fn open(config: Config, clock: Clock, program: PathBuf) -> Result<Self, StartError> {
        // First, so that nothing is counted in vain.
        let recorder = recorder();
        let lakehouse = lake::open(&config).await?;
        if let Err(error) = ImportRecord::record_interrupted(&config.dir, lakehouse.cut().lsn) {
            tracing::warn!(%error, "imports that were broken off");
        }
        let store = features::open_store(&config).await?;
        queries::give_up_unfinished(&store).await?;
        let handshake = lake::handshake(&config, lake::spill_dir(&config)?)?;
        integrity::begin(&config);
        let engine = engine(&config, &program, handshake, lakehouse.changes());
        let cut_cipher = lake::cut_cipher(&config)?;
        let state = State::new(store, clock);
        let tasks = state.tasks.clone();
        let runner = Runner::new(engine.clone(), state.clock.clone(), cut_cipher.clone(), tasks);
        let kept = AnswerStore::open(&lake::location(&config)?).map_err(OpenError::from)?;
        let catalog = read_catalog(config.metrics.dir()).await?;
        let dashboards = Arc::new(lake::dashboards(&config, &catalog)?);
        let devices = Devices::new(lake::device_key(&config.dir)?);
        let local_token = local_token();
        let plans = plans(&config, &state.clock)?;
        let archive = lake::archive(&config)?;
        let (smtp, hooks) = (config.smtp.clone(), config.hooks.clone());
        let links = Links::new(&config.server.public_url, &lake::link_key(&config.dir)?);
        let vault = Vault::new(lake::vault_key(&config.dir)?);
        let courier =
            Courier::new(state.clone(), smtp, hooks, archive, links.clone(), vault.clone())
                .map_err(StartError::Store)?;
        let secrets = Secrets { devices, vault, settings: config.accounts.clone() };
        let directory = Directory::new(state.clone(), secrets, plans, courier.clone())
            .with_quota_webhook(quota_webhook(&config)?);
        let reporting = Reporting {
            files: RunFiles::open(&lake::location(&config)?).map_err(OpenError::from)?,
            links,
            recipient_domains: lowercase(&config.reports.recipient_domains),
        };
        let lake = Lake {
            state: state.clone(),
            authenticator: Arc::new(directory.clone()),
            lakehouse,
            engine,
            catalog,
            dashboards,
            runner,
            background: Background::new(kept, config.query.workers / 2),
            limits: config.query.clone(),
            metrics: config.metrics.settings(),
            cut_cipher,
            event_intake: Arc::new(EventIntake::new(&config.ingest)),
            dir: config.dir.clone(),
            rollups_opened: Arc::default(),
            courier,
            reporting,
        };
        let metering = Metering::default();
        let billing = billing(&config, &lake)?;
        let portal = portal(&config, &lake, &directory);
        Ok(Self {
            config,
            state,
            lake,
            directory,
            billing,
            portal,
            local_token,
            program,
            recorder,
            metering,
        })
    }

    /// Moves the log to the tables and lets go of everything.
    pub async fn close(self) -> Result<(), pipeline::Error> {
        self.lake.lakehouse.close().await
    }

    /// Registers the routes of all features, with everything they need.
    fn register(&self) -> impl Fn(&mut ServiceConfig<'_>) + Clone + Send + 'static {
        let gate = Gate::new(Arc::new(self.directory.clone()))
            .with_local_token(&self.local_token)
            .with_secure_cookie(self.config.server.secure_cookie)
            .with_trusted_proxies(self.config.server.trusted_proxies.clone());
        let base = AppData::new(self.state.clone(), gate, self.lake.runner.readers.clone());
        let (system, lake) = (Data::new(self.clone()), Data::new(self.lake.clone()));
        let once = Data::new(IdempotencySecret::new(self.lake.courier.derived("idempotency")));
        move |config: &mut ServiceConfig<'_>| {
            base.register(config);
            config.app_data(system.clone()).app_data(lake.clone()).app_data(once.clone());
            // A part of an address that is none, such as a word where a number stands.
            config.app_data(web::PathConfig::default().error_handler(|_, _| {
                Problem::not_found("there is nothing of this name or number").into()
            }));
            feature::routes(accounts::FEATURES, &system.directory, config);
            feature::routes(delivery::FEATURES, &system.lake.courier, config);
            feature::routes(billing::FEATURES, &system.billing, config);
            feature::routes(portal::FEATURES, &system.portal, config);
            feature::routes(analytics::FEATURES, &system.lake, config);
            feature::routes(OPERATIONS, &system, config);
        }
    }

    /// What clients may ask of this system.
    pub(crate) fn contract(&self) -> Contract {
        Contract::of(self.register())
    }

    /// What a server serves, and what tests call.
    pub fn routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
        let (register, contract) = (self.register(), Data::new(self.contract()));
        move |routes| {
            routes.app_data(contract.clone());
            register(&mut ServiceConfig::new(routes));
            routes.default_service(web::to(method::no_route));
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
                .wrap(from_fn(idempotency::once))
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
    pub fn start(self) -> Result<RunningServer, StartError> {
        let address = SocketAddr::new(self.config.server.bind, self.config.server.port);
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let (server, open) = self.serve(listener).map_err(listen)?;
        let handle = server.handle();
        self.state.tasks.rely_on("http", async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        let url = format!("http://{bound}");
        self.supervise(open, &url);
        Ok(RunningServer { url, system: self, handle })
    }

    /// Begins what goes on beside the requests.
    fn supervise(&self, open: Connections, url: &str) {
        self.lake.reporting.links.listens_on(url);
        feature::tasks(accounts::FEATURES, &self.directory);
        feature::tasks(delivery::FEATURES, &self.lake.courier);
        feature::tasks(billing::FEATURES, &self.billing);
        feature::tasks(portal::FEATURES, &self.portal);
        feature::tasks(analytics::FEATURES, &self.lake);
        feature::tasks(OPERATIONS, self);
        // What needs a server that listens.
        self.state.tasks.keep("connections", move || {
            let open = open.clone();
            async move { open.keep_ending_idle().await }
        });
        integrity::register(self, url);
        // The last: every feature has said by now what it does.
        let jobs = self.state.jobs.clone();
        self.state.tasks.keep("jobs", move || {
            let jobs = jobs.clone();
            async move { jobs.run().await }
        });
    }

    /// Keeps a task of the server running.
    pub(crate) fn keep<F>(&self, name: &'static str, run: fn(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let system = self.clone();
        self.state.tasks.keep(name, move || run(system.clone()));
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct RunningServer {
    pub url: String,
    pub system: System,
    handle: ServerHandle,
}

impl RunningServer {
    /// Completes when the process must end, and says why: the log cannot be written any more, or nobody is served.
    pub async fn broken(&self) -> &'static str {
        tokio::select! {
            () = self.system.lake.lakehouse.broken() => "the log could not be written",
            () = self.system.state.tasks.failed() => "the HTTP server ended",
        }
    }

    /// Stops in order: no new requests, the old ones answered, then the log is moved to the tables.
    pub async fn stop(self) {
        self.system.state.tasks.prepare_to_stop();
        self.handle.stop(true).await;
        self.system.state.tasks.stop().await;
        if let Err(error) = self.system.state.jobs.give_back().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "jobs wait until their leases run out");
        }
        self.system.lake.engine.stop().await;
        let written = self.system.lake.runner.write_ended(&self.system.state.store).await;
        if let Err(error) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last queries");
        }
        if let Err(error) =
            relay::drain(&self.system.state.store, &self.system.lake.lakehouse).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the outbox waits for the next start"
            );
        }
        let closing =
            tokio::time::timeout(Duration::from_secs(30), self.system.lake.lakehouse.close());
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

fn lowercase(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.to_lowercase()).collect()
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
