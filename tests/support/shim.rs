//! A library between a process and the C library, which fails or changes a call.

use std::process::Command;

use crate::support::directory::Directory;

/// Compiles the library. A process loads it if `LD_PRELOAD` names it.
pub fn compile(directory: &Directory, source: &str) -> String {
    let (file, library) = (directory.file("shim.c"), directory.file("shim.so"));
    std::fs::write(&file, source).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o", &library, &file, "-ldl"]).status();
    assert!(compiled.unwrap().success());
    library
}
