//! `docs/openapi.json` is what the server serves.

use std::path::Path;

#[test]
fn the_committed_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = polder_server::openapi_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == now,
        "docs/openapi.json is stale: run `UPDATE=1 cargo test -p polder-server --test openapi` \
         and commit it"
    );
}

#[test]
fn every_path_that_is_served_is_described() {
    let document: serde_json::Value = serde_json::from_str(&polder_server::openapi_json()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let described: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let source = include_str!("../src/http/mod.rs");
    let served = source.lines().filter_map(|line| {
        let path = line.trim().strip_prefix(".route(\"")?.split('"').next()?;
        Some(path.replace("{*path}", "{path}"))
    });
    let missing: Vec<String> =
        served.filter(|path| path != "/openapi.json" && !described.contains(&path)).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}
