//! The bank serves the routes of its tables only: a route beside them would have no policy.

use super::repository::Repository;
use super::{assert_allowed, assert_caught, assert_kept};

/// Calls that add a route to actix-web without a table.
const BESIDE: [&str; 13] = [
    ".service(",
    "web::resource(",
    "web::scope(",
    "web::route(",
    "web::get(",
    "web::post(",
    "web::put(",
    "web::delete(",
    "web::method(",
    "web::to(",
    "#[get(",
    "#[post(",
    "#[route(",
];

fn routes_beside_tables(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    let files = repository.rust().filter(|file| file.path.starts_with("example-bank/src/"));
    for file in files {
        for (line, code) in file.lines().filter(|(line, _)| !file.is_test(*line)) {
            let beside = BESIDE.iter().find(|way| code.contains(*way));
            wrong.extend(beside.map(|way| format!("{}: `{way}` beside the table", file.at(line))));
        }
    }
    wrong
}

#[test]
fn the_bank_serves_no_route_beside_its_tables() {
    assert_kept(routes_beside_tables);
    let caught = |text: &str| {
        let files = [("example-bank/src/server.rs", text)];
        assert_caught(routes_beside_tables, &files, "server.rs:1");
    };
    caught("App::new().service(debug)");
    caught("config.route(\"/debug\", web::get().to(debug));");
    caught("#[get(\"/debug\")]");
    let kept = "config.configure(routes().serve(app, access));\n// web::get(";
    assert_allowed(routes_beside_tables, &[("example-bank/src/http.rs", kept)]);
    assert_allowed(routes_beside_tables, &[("framework/src/web/a.rs", "web::get()")]);
}
