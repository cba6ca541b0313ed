//! PostgreSQL for a test: a database of its own on the server that runs for all, or a whole server
//! of its own, to be stopped, crashed and reconfigured. Both are gone when the test is, panic or not.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/services");
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A fresh database on the server for all, dropped with everything in it.
pub struct Database {
    server: PgConnectOptions,
    name: String,
}

/// Makes a database on the server that `ACTUM_TEST_POSTGRES` names.
pub async fn database() -> Database {
    let server = running("POSTGRES");
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
    execute(&server, &format!("CREATE DATABASE {name}")).await.unwrap();
    Database { server, name }
}

impl Database {
    /// URL of the database.
    pub fn url(&self) -> String {
        url(self.options())
    }

    /// URL of the database through another port, a proxy's for instance.
    pub fn url_by(&self, port: u16) -> String {
        url(self.options().port(port))
    }

    /// URL of the database through the pgbouncer that `ACTUM_TEST_PGBOUNCER` names.
    pub fn url_by_pgbouncer(&self) -> String {
        url(running("PGBOUNCER").database(&self.name))
    }

    /// Name of the database, which no other test uses.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The server's own port.
    pub fn port(&self) -> u16 {
        self.server.get_port()
    }

    /// A connection that may do anything.
    pub async fn connect(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread and a runtime of its own: the test's may be the one that is dropping.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            runtime.unwrap().block_on(execute(&server, &statement))
        });
        let _ = dropped.join();
    }
}

/// A server of one test.
pub struct Server {
    directory: PathBuf,
    port: u16,
    options: PgConnectOptions,
}

impl Server {
    /// Makes and starts one.
    pub async fn private() -> Self {
        Self::below(&services()).await
    }

    /// The same with its data below this folder.
    pub async fn below(folder: &Path) -> Self {
        let port = free_port();
        let directory = folder.join(format!("private/{}-{port}", std::process::id()));
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);
        let options = options.ssl_mode(PgSslMode::Disable);
        let options = options.username("actum").database("postgres");
        let server = Self { directory, port, options };
        server.start().await;
        server
    }

    /// URL of the server's database.
    pub fn url(&self) -> String {
        url(self.options.clone())
    }

    /// URL of the server's database through another port, a proxy's for instance.
    pub fn url_by(&self, port: u16) -> String {
        url(self.options.clone().port(port))
    }

    /// Port of the server, the same after each start.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection that may do anything.
    pub async fn connect(&self) -> PgConnection {
        self.options.connect().await.unwrap()
    }

    /// Starts it and waits until it answers.
    pub async fn start(&self) {
        self.run("up").await;
    }

    /// Stops it in order: open transactions are rolled back, nothing has to be recovered.
    pub async fn stop(&self) {
        self.run("down").await;
    }

    /// Stops it in the middle of whatever it does, as a power cut would.
    pub async fn crash(&self) {
        self.run("crash").await;
    }

    /// Keeps a copy of the data of a stopped server, as a standby that lags behind has it.
    pub async fn keep(&self) {
        self.copy("postgres", "standby").await;
    }

    /// Puts the kept data in place of a stopped server's own, as a failover to that standby would.
    pub async fn fail_over(&self) {
        std::fs::remove_dir_all(self.directory.join("postgres")).unwrap();
        self.copy("standby", "postgres").await;
    }

    async fn copy(&self, from: &str, to: &str) {
        let mut command = Command::new("cp");
        command.arg("-a").arg(self.directory.join(from)).arg(self.directory.join(to));
        assert!(command.status().await.unwrap().success());
    }

    /// Changes a setting for all sessions. One that needs a restart holds after `stop` and `start`.
    pub async fn set(&self, name: &str, value: &str) {
        let loaded = async || -> String {
            let mut connection = self.connect().await;
            let query = sqlx::query_scalar("SELECT pg_conf_load_time()::text");
            query.fetch_one(&mut connection).await.unwrap()
        };
        let before = loaded().await;
        execute(&self.options, &format!("ALTER SYSTEM SET {name} = '{value}'")).await.unwrap();
        execute(&self.options, "SELECT pg_reload_conf()").await.unwrap();
        // The signal is only sent: sessions begun before it arrived would not have the setting.
        while loaded().await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Replaces `pg_hba.conf` by these lines, from now on.
    pub async fn allow(&self, lines: &str) {
        let mut connection = self.connect().await;
        let query = sqlx::query_scalar("SHOW hba_file");
        let file: String = query.fetch_one(&mut connection).await.unwrap();
        std::fs::write(file, lines).unwrap();
        self.set("log_connections", "on").await; // it reads the file with the settings
    }

    /// A copy of a file that belongs to the server's user and that no other user can read.
    pub fn adopt(&self, file: &Path) -> String {
        let home = self.directory.join("postgres");
        let copy = home.join(file.file_name().unwrap());
        std::fs::copy(file, &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
        let owner = home.metadata().unwrap();
        std::os::unix::fs::chown(&copy, Some(owner.uid()), Some(owner.gid())).unwrap();
        copy.display().to_string()
    }

    async fn run(&self, verb: &str) {
        let mut command = Command::new(SCRIPT);
        command.args([verb, "postgres"]).env("ACTUM_SERVICES_DIR", &self.directory);
        let output = command.env("ACTUM_SERVICES_PORT", self.port.to_string()).output();
        let output = output.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/services {verb}: {said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = std::process::Command::new(SCRIPT);
        let _ = command.arg("wipe").env("ACTUM_SERVICES_DIR", &self.directory).status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn running(service: &str) -> PgConnectOptions {
    let name = format!("ACTUM_TEST_{service}");
    let url = std::env::var(&name).unwrap_or_else(|_| {
        let service = service.to_lowercase();
        panic!(
            "{name} is not set: run scripts/test, or set what `scripts/services up {service}` says"
        )
    });
    let options = url.parse::<PgConnectOptions>();
    // The proxy reads the protocol.
    options.unwrap_or_else(|error| panic!("{name}: {error}")).ssl_mode(PgSslMode::Disable)
}

fn url(options: PgConnectOptions) -> String {
    options.to_url_lossy().into()
}

async fn execute(server: &PgConnectOptions, statement: &str) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    // Names and values are those of the tests.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

/// Folder of the servers of `scripts/services`, which also looks there for leftovers of killed
/// tests.
pub fn services() -> PathBuf {
    let named = std::env::var_os("ACTUM_SERVICES_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let user = Path::new("/proc/self").metadata().unwrap().uid();
        format!("/tmp/actum-services-{user}").into()
    })
}

/// A port below those that the system gives to outgoing connections: none takes it while it is
/// closed for a time.
pub fn free_port() -> u16 {
    let first = std::process::id() as u16 % 500 * 8 + NEXT.fetch_add(1, Ordering::Relaxed);
    let mut ports = (0..5_000).map(|next| 20_000 + (first + next) % 5_000);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_database_is_empty_and_gone_with_its_test() {
    let (first, second) = (database().await, database().await);
    let mut connection = PgConnection::connect(&first.url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE mine ()").execute(&mut connection).await.unwrap();
    let mut other = second.connect().await;
    let mine = "SELECT to_regclass('mine')::text";
    let found: Option<String> = sqlx::query_scalar(mine).fetch_one(&mut other).await.unwrap();
    assert_eq!(found, None);
    let name = first.name.clone();
    drop(first);
    let left = "SELECT count(*) FROM pg_database WHERE datname = $1";
    let left: i64 = sqlx::query_scalar(left).bind(name).fetch_one(&mut other).await.unwrap();
    assert_eq!(left, 0);
    sqlx::query("SELECT").execute(&mut connection).await.unwrap_err();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_server_of_its_own_keeps_its_data_over_a_crash() {
    let server = Server::private().await;
    let mut before = server.connect().await;
    let statements = "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)";
    sqlx::raw_sql(statements).execute(&mut before).await.unwrap();
    server.set("commit_delay", "1000").await;
    server.crash().await;
    sqlx::query("SELECT").execute(&mut before).await.unwrap_err();
    server.start().await;
    server.stop().await;
    server.start().await;
    let mut after = PgConnection::connect(&server.url()).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut after).await.unwrap();
    let delay: String =
        sqlx::query_scalar("SHOW commit_delay").fetch_one(&mut after).await.unwrap();
    assert_eq!((kept, delay.as_str()), (7, "1000"));
    let (directory, port) = (server.directory.clone(), server.port);
    assert!(directory.exists() && TcpListener::bind(("127.0.0.1", port)).is_err());
    drop(server);
    assert!(!directory.exists() && TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn through_pgbouncer_the_same_database_is_reached() {
    let database = database().await;
    sqlx::raw_sql("CREATE TABLE mine ()").execute(&mut database.connect().await).await.unwrap();
    let mut pooled = PgConnection::connect(&database.url_by_pgbouncer()).await.unwrap();
    let mine = "SELECT to_regclass('mine')::text";
    let found: Option<String> = sqlx::query_scalar(mine).fetch_one(&mut pooled).await.unwrap();
    assert_eq!(found.as_deref(), Some("mine"));
}
