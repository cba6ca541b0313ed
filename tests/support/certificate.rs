//! Certificates for servers on loopback, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Configuration for openssl.
const WISH: &str = "[req]
prompt = no
distinguished_name = name
x509_extensions = uses
[name]
CN = test
[uses]
basicConstraints = critical, CA:FALSE
";

/// A certificate that has signed itself for `IP:127.0.0.1` or `DNS:some.name`, and its key.
pub fn certify(folder: &Path, name: &str, subject: &str) -> (PathBuf, PathBuf) {
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    let (certificate, key, wish) = (file("crt"), file("key"), file("conf"));
    std::fs::write(&wish, format!("{WISH}subjectAltName = {subject}\n")).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-config"])
        .arg(&wish)
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}
