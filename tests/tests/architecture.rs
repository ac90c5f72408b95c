//! The house as it is drawn: arrows go down only, and each room carries no more than its floor permits.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// The rooms by floor. Whatever is in the workspace is here, so that a new room is placed before it is used.
const FLOORS: [&[&str]; 5] = [
    &["pki"],
    &["hsm", "store", "audit", "config", "api", "tls"],
    &["ca", "ra"],
    &["server", "ocsp-responder", "station", "relying"],
    &["cli"],
];

/// Not rooms: what tests the house, from outside.
const OUTSIDE: [&str; 2] = ["tests", "faulty-pkcs11"];

/// The only arrows that go sideways.
const SIDEWAYS: [(&str, &str); 2] = [("ra", "ca"), ("server", "ocsp-responder")];

/// Rooms that use these and nothing else of the house: they run where nothing else may be.
const NARROW: [(&str, &[&str]); 4] = [
    ("pki", &[]),
    ("ocsp-responder", &["pki", "hsm", "config", "api", "tls"]),
    ("relying", &["pki", "api"]),
    ("cli", &["server", "station", "relying", "api", "config"]),
];

/// Async and HTTP stay on floor 3 and above.
const ASYNC: [&str; 8] =
    ["tokio", "tokio-rustls", "hyper", "hyper-util", "axum", "utoipa-axum", "tower", "http-body-util"];

/// Not even as somebody else's dependency, below floor 3.
const HEAVY: [&str; 3] = ["tokio", "hyper", "axum"];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// What is wrong with an edge from `room` to `dependency`, if anything is.
fn forbidden(room: &str, dependency: &str) -> Option<String> {
    let refuse = |why: &str| Some(format!("{room} → {dependency}: {why}"));
    let Some(from) = floor(room) else { return refuse("the room has no floor; place it in architecture.md and here") };
    if OUTSIDE.contains(&dependency) {
        return refuse("no room depends on its tests");
    }
    let Some(to) = floor(dependency) else {
        // Not a room.
        return match ASYNC.contains(&dependency) && from < 3 {
            true => refuse("async and HTTP stay on floor 3 and above; the core is synchronous"),
            false => None,
        };
    };
    if let Some((_, allowed)) = NARROW.iter().find(|(narrow, _)| *narrow == room)
        && !allowed.contains(&dependency)
    {
        return refuse("this room may use few others, and not this one");
    }
    if to > from {
        return refuse("arrows go down only");
    }
    if to == from && !SIDEWAYS.contains(&(room, dependency)) {
        return refuse("sideways only ra → ca and server → ocsp-responder");
    }
    None
}

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).other_options(vec!["--offline".to_owned()]).exec().unwrap_or_else(
        // Where the registry was never read, there is nothing to be offline with.
        |_| MetadataCommand::new().manifest_path(manifest).exec().expect("cargo metadata"),
    )
}

/// The direct dependencies of each member of the workspace: those for its code, and those for its tests only.
fn edges(metadata: &Metadata) -> Vec<(String, String, bool)> {
    let mut edges = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let for_tests = dependency.kind == DependencyKind::Development;
            edges.push((package.name.to_string(), dependency.name.clone(), for_tests));
        }
    }
    edges
}

fn violations(edges: &[(String, String, bool)]) -> Vec<String> {
    let rooms: Vec<_> = edges.iter().filter(|(room, ..)| !OUTSIDE.contains(&room.as_str())).collect();
    let code = rooms.iter().filter(|(.., for_tests)| !for_tests).filter_map(|(room, to, _)| forbidden(room, to));
    // Tests may use what tests share, and whatever crate they like; the rooms above stay out of reach.
    let tests = rooms.iter().filter(|(.., for_tests)| *for_tests).filter_map(|(room, to, _)| {
        let upwards = floor(to).zip(floor(room)).is_some_and(|(to, from)| to > from);
        upwards.then(|| format!("{room} → {to} in its tests: arrows go down only"))
    });
    code.chain(tests).collect()
}

#[test]
fn the_arrows_between_the_rooms_are_those_of_the_drawing() {
    let metadata = metadata();
    let edges = edges(&metadata);
    assert!(edges.len() > 100, "cargo metadata shows the workspace");
    let violations = violations(&edges);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn every_member_of_the_workspace_is_a_room_or_a_test() {
    let metadata = metadata();
    let members: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let drawn: BTreeSet<String> =
        FLOORS.iter().copied().flatten().chain(&OUTSIDE).map(|name| (*name).to_owned()).collect();
    assert_eq!(members, drawn);
}

#[test]
fn nothing_below_floor_three_pulls_in_a_runtime_by_way_of_others() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    for package in metadata.workspace_packages() {
        if floor(package.name.as_str()).is_none_or(|floor| floor >= 3) {
            continue;
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            assert!(!HEAVY.contains(&names[id]), "{} depends on {} by way of others", package.name, names[id]);
            let normal = nodes[id]
                .deps
                .iter()
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
            open.extend(normal.map(|dependency| &dependency.pkg));
        }
        assert!(seen.len() > 1, "{} depends on something", package.name);
    }
}

#[test]
fn a_forbidden_arrow_would_be_noticed() {
    for (from, to) in [
        // Up.
        ("pki", "hsm"),
        ("store", "ca"),
        ("ca", "server"),
        ("ca", "ra"),
        ("server", "cli"),
        // Sideways.
        ("hsm", "store"),
        ("audit", "store"),
        ("api", "config"),
        ("tls", "hsm"),
        ("station", "server"),
        ("relying", "station"),
        ("ocsp-responder", "server"),
        ("server", "station"),
        // Past what a room may know.
        ("ocsp-responder", "store"),
        ("ocsp-responder", "ca"),
        ("ocsp-responder", "station"),
        ("relying", "hsm"),
        ("relying", "config"),
        ("cli", "ca"),
        ("cli", "store"),
        ("cli", "hsm"),
        ("cli", "pki"),
        ("cli", "ocsp-responder"),
        // Into tests, and out of nowhere.
        ("server", "faulty-pkcs11"),
        ("cli", "tests"),
        ("cellar", "pki"),
        // Async in the core.
        ("pki", "tokio"),
        ("hsm", "hyper"),
        ("store", "tokio"),
        ("tls", "tokio-rustls"),
        ("ca", "axum"),
        ("ra", "tokio"),
    ] {
        assert!(forbidden(from, to).is_some(), "{from} → {to} was not noticed");
        let edge = (from.to_owned(), to.to_owned(), false);
        assert_eq!(violations(&[edge]).len(), 1, "{from} → {to}");
    }
    for (from, to) in [
        ("hsm", "pki"),
        ("audit", "pki"),
        ("config", "pki"),
        ("ra", "ca"),
        ("ra", "store"),
        ("server", "ocsp-responder"),
        ("ocsp-responder", "tls"),
        ("station", "tls"),
        ("server", "tokio"),
        ("station", "hsm"),
        ("relying", "pki"),
        ("cli", "server"),
        ("cli", "tokio"),
        ("pki", "der"),
    ] {
        assert_eq!(forbidden(from, to), None);
    }
    let upwards_in_tests = ("hsm".to_owned(), "server".to_owned(), true);
    let shared_by_tests = ("hsm".to_owned(), "faulty-pkcs11".to_owned(), true);
    assert_eq!(violations(&[upwards_in_tests, shared_by_tests]).len(), 1);
}
