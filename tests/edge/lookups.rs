//! Name look-ups that no server answers: the client that registers them is refused for now, and no
//! other client waits.

use std::process::Command;

use serde_json::json;

use super::{Doorkeeper, lines, new_key};
use crate::support::child::BankProcess;
use crate::support::http::Response;
use crate::support::receiver::Receiver;

const KEY: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Never answers for names that begin with `dead`, as a name server that drops packets.
const DEAD_NAMES: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    while (name && strncmp(name, "dead", 4) == 0) pause();
    real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, hints, found);
}
"#;

fn register(bank: &BankProcess, key: &str, name: &str, port: u16) -> Response {
    let authorization = format!("authorization: Bearer {key}\r\n");
    let body = json!({ "url": format!("http://{name}:{port}/hook") }).to_string();
    bank.client().send("PUT", "/callback", &authorization, &body).unwrap()
}

#[test]
#[ignore = "needs a C compiler: run scripts/test"]
fn a_client_with_too_many_open_name_lookups_is_told_to_come_again_and_others_are_served() {
    let doorkeeper = Doorkeeper::new();
    let (source, shim) =
        (doorkeeper.directory.file("shim.c"), doorkeeper.directory.file("shim.so"));
    std::fs::write(&source, DEAD_NAMES).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o", &shim, &source, "-ldl"]).status();
    assert!(compiled.unwrap().success());
    let keys = ["mallory", "ada"].map(|name| new_key(name, &["accounts:write"]));
    doorkeeper.write_keys(&lines(&keys.each_ref()));
    let [mallory, ada] = keys.each_ref().map(|key| key.key.expose());
    let port = Receiver::answering("204 No Content").port;
    let mut command = BankProcess::command(&doorkeeper.directory.file("bank.db"));
    command.arg("--api-keys").arg(doorkeeper.keys_file()).args(["--callback-key", KEY]);
    command.arg("--callback-allow").arg(format!("127.0.0.1:{port}"));
    let bank = BankProcess::spawn(&mut command, &[("LD_PRELOAD", &shim)]).unwrap();
    // Each look-up times out after five seconds, and its thread is still running.
    std::thread::scope(|scope| {
        for n in 0..4 {
            let bank = &bank;
            scope.spawn(move || {
                let dead = register(bank, mallory, &format!("dead{n}.example"), port);
                let code = &dead.body["code"];
                assert_eq!((dead.status, code), (422, &json!("forbidden_address")), "{dead:?}");
            });
        }
    });
    for name in ["dead5.example", "localhost"] {
        let busy = register(&bank, mallory, name, port);
        assert_eq!((busy.status, &busy.body["code"]), (503, &json!("overloaded")), "{busy:?}");
        assert_eq!(busy.header("retry-after"), Some("5"), "{busy:?}");
    }
    let good = register(&bank, ada, "localhost", port);
    assert_eq!(good.status, 200, "{good:?}");
    assert!(bank.terminate().success(), "it waits for names as it stops");
}
