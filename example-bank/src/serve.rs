//! The bank's server: store, application and listeners.

use std::io::Write;
use std::process::ExitCode;

use actum::web::{Access, Listeners, Prometheus, RunningServer, Server, TlsConfig};
use actum::{BoxError, Settings, StartPosition};

use crate::cli::Serve;
use crate::welcome::{FileMailer, WelcomeMail, smtp_mailer};
use crate::{application, calling, routes};

/// Program name that the log stores, whatever the name of the executable.
const NAME: &str = "bank";

/// Exit code if the database file is incomplete without the files beside it.
const LEFT_OPEN: u8 = 3;

/// Runs the server until the process gets a stop signal.
pub(crate) async fn serve(options: Serve) -> Result<ExitCode, BoxError> {
    // First of all, because a bank that would be open to everyone must not even listen.
    let access = options.credentials.open(options.listen)?;
    // Before the store, because a port in use must not leave a new database behind.
    let listeners = Listeners::bind(options.listen, options.operate)?;
    let files = options.tls_cert.zip(options.tls_key);
    let tls = files.map(|(certificate, key)| TlsConfig::files(certificate, key)).transpose()?;
    let is_secure = tls.is_some();
    let smtp = options.smtp_url.zip(options.mail_domain);
    let smtp = smtp.map(|(url, domain)| smtp_mailer(&url, &domain)).transpose()?;
    // Before the store too, because it creates its metric handles when it is opened.
    let metrics = Prometheus::record()?;
    let callbacks = calling::callbacks(options.calling, access.is_dev())?;
    let limits = options.limits.limits();
    let builder = application(actum::open(&options.store.url()).await?).name(NAME);
    let mut builder =
        builder.settings(Settings { live_streams: limits.streams, ..Settings::default() });
    if let Some(callbacks) = &callbacks {
        builder = callbacks.by(builder);
    }
    // Accounts that are open already are not new.
    let start = StartPosition::Now;
    if let Some(file) = options.mail_file {
        builder = builder.event_handler(WelcomeMail::new(FileMailer::new(file)), start);
    } else if let Some(mailer) = smtp {
        builder = builder.event_handler(WelcomeMail::new(mailer), start);
    }
    let server = Server::new(builder.start().await?)
        .routes(routes())
        .access(access.clone())
        .limits(limits)
        .callbacks(callbacks)
        .metrics(metrics)
        .workers(options.workers.map(usize::from))
        .tls(tls)
        .on(listeners);
    let server = server.start().await?;
    // A closed standard output does not stop the bank.
    let _ = writeln!(std::io::stdout(), "{}", greeting(is_secure, &server, &access));
    let stopped = server.until_stopped().await?;
    Ok(if stopped.left_open.is_some() { ExitCode::from(LEFT_OPEN) } else { ExitCode::SUCCESS })
}

fn greeting(is_secure: bool, server: &RunningServer, access: &Access) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    let (public, operations) = (server.address(), server.operations_address());
    let (mode, credential) = match access.is_dev() {
        true => ("dev mode: every client may do everything; --help describes credentials\n", ""),
        false => ("", "-H \"Authorization: Bearer $KEY\" "),
    };
    format!(
        "listening on {scheme}://{public}\n\
         operations API on http://{operations}\n{mode}\
         try: curl -i {scheme}://{public}/accounts {credential}-H 'Content-Type: application/json' \
         -d '{{\"id\": \"42\", \"owner\": \"Ada\", \"currency\": \"EUR\"}}'"
    )
}
