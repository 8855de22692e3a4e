//! The health that Argo CD shows: it runs the script that we give it on the resource.

use mlua::{Lua, LuaSerdeExt as _, Table};
use serde_json::{Value, json};

use super::*;

const SCRIPT: &str = include_str!("../../../../../deploy/argocd/health.lua");

/// Returns the health and its message, as Argo CD gets them from the script.
fn health(resource: &Value) -> (String, String) {
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(resource).unwrap()).unwrap();
    let health: Table = lua.load(SCRIPT).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

fn of(spec: &ShardedKvSpec, status: &ShardedKvStatus) -> (String, String) {
    health(&json!({ "metadata": { "generation": 1 }, "spec": spec, "status": status }))
}

#[test]
fn argo_cd_sees_what_is_under_way_done_and_amiss() {
    let spec = ShardedKvSpec::default();
    let running = first(&seen([3, 3]));
    let starting = of(&spec, &first(&Observed::default()));
    assert_eq!(starting, ("Progressing".to_owned(), "waiting for servers of g0, g1".to_owned()));
    assert_eq!(of(&spec, &running).0, "Healthy");
    let ailing = of(&spec, &status_of(&spec, &running, &seen([3, 2]), 2));
    assert_eq!(ailing, ("Degraded".to_owned(), "1 of 6 servers are not ready".to_owned()));
    let failed = of(&spec, &changed(Some(Failure::Lasting("no right"))));
    assert_eq!(failed, ("Degraded".to_owned(), "no right".to_owned()));
    assert_eq!(of(&spec, &changed(Some(Failure::Passing("busy")))).0, "Progressing");
}

#[test]
fn argo_cd_sees_a_pause_as_one() {
    let paused = ShardedKvSpec { paused: true, ..ShardedKvSpec::default() };
    let status = status_of(&paused, &first(&seen([3, 3])), &seen([3, 3]), 2);
    assert_eq!(of(&paused, &status).0, "Suspended");
    let status = status_of(&paused, &first(&seen([3, 3])), &seen([3, 2]), 2);
    assert_eq!(of(&paused, &status).0, "Degraded", "a pause hides nothing");
}

#[test]
fn argo_cd_waits_until_the_operator_has_seen_the_resource() {
    let spec = ShardedKvSpec::default();
    let resource = |status: Value| json!({ "metadata": { "generation": 2 }, "spec": spec, "status": status });
    assert_eq!(health(&json!({ "metadata": { "generation": 2 }, "spec": spec })).0, "Progressing");
    assert_eq!(health(&resource(json!({ "observedGeneration": -1 }))).0, "Progressing");
    let before = serde_json::to_value(first(&seen([3, 3]))).unwrap();
    assert_eq!(health(&resource(before)).0, "Progressing");
}
