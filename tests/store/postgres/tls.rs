//! PostgreSQL over TLS: encrypted, verified, and refused by name when it cannot be.

use std::path::PathBuf;

use actum::ExpectedVersion::Any;
use actum::store::EventStore;
use sqlx::AssertSqlSafe;

use super::ledger::{append, committed, no_answer, one, open, quick, refusal, until};
use crate::support::certificate::certify;
use crate::support::postgres::Server;

/// Has the server show this certificate from now on.
async fn show(server: &Server, (certificate, key): &(PathBuf, PathBuf)) {
    let (certificate, key) = (server.adopt(certificate), server.adopt(key));
    server.set("ssl_cert_file", &certificate).await;
    server.set("ssl_key_file", &key).await;
    server.set("ssl", "on").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_server_is_reached_over_tls_and_another_certificate_is_refused() {
    let server = Server::private().await;
    let directory = crate::support::directory::Directory::new();
    let folder = PathBuf::from(directory.file(""));
    let of = |name| certify(&folder, name, "IP:127.0.0.1");
    let (ours, others) = (of("ours"), of("others"));
    let url = server.url();
    let plain = url.split_once('?').map_or(&*url, |(plain, _)| plain);
    let verified = format!("{plain}?sslmode=verify-full&sslrootcert={}", ours.0.display());

    let reason = refusal(quick(&verified)).await;
    assert!(reason.contains("sslmode"), "no TLS yet: {reason}");
    show(&server, &ours).await;
    let store = open(&verified).await;
    committed(one(&store, append("1", Any)).await);
    let sessions = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE application_name = 'actum'";
    let mut root = server.connect().await;
    assert!(sqlx::query_scalar::<_, bool>(sessions).fetch_one(&mut root).await.unwrap());

    show(&server, &others).await;
    let reason = refusal(quick(&verified)).await;
    assert!(reason.contains("certificate"), "{reason}");
    // Sessions that are lost now do not come back, and the store says why, until it is mended.
    let lost = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE application_name = 'actum'";
    sqlx::query(AssertSqlSafe(lost)).execute(&mut root).await.unwrap();
    until(async || store.info().trouble.is_some_and(|trouble| trouble.contains("certificate")))
        .await;
    let reason = no_answer(store.head().await);
    assert!(reason.contains("certificate"), "{reason}");
    show(&server, &ours).await;
    until(async || store.info().trouble.is_none() && store.head().await.is_ok()).await;
    committed(one(&store, append("1", Any)).await);
}
