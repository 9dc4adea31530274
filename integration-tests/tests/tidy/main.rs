//! The rules of the house that no lint knows: sizes, names, headers, floors, and documents that must stay true. Each
//! check is a pure function from text to a list of complaints, and each is shown to be able to fail.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod documents;
mod floors;
mod names;
mod properties;
mod sizes;
mod tree;
mod unsafety;

use skiff_integration_tests::skip::skip;
use tree::Tree;

#[track_caller]
fn assert_none(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}\n", complaints.join("\n  "));
}

/// Every complaint of `check` over the files for which `wanted` holds.
fn each(tree: &Tree, wanted: fn(&str) -> bool, check: fn(&str, &str) -> Vec<String>) -> Vec<String> {
    tree.files.iter().filter(|file| wanted(&file.path)).flat_map(|file| check(&file.path, &file.text)).collect()
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

#[test]
fn files_and_functions_stay_small() {
    assert_none("split what grew (CONTRIBUTING.md, sizes)", &each(&Tree::read(), is_rust, sizes::check));
}

#[test]
fn names_say_something() {
    let tree = Tree::read();
    let complaints: Vec<_> = tree.files.iter().flat_map(|file| names::check(&file.path)).collect();
    assert_none("name a file after the one thing in it", &complaints);
}

#[test]
fn every_source_file_says_what_it_is() {
    assert_none("open the file with a `//!` sentence or two", &each(&Tree::read(), is_rust, names::check_header));
}

#[test]
fn unsafe_code_has_its_rooms() {
    assert_none("unsafe code belongs to a `sys` room", &each(&Tree::read(), is_rust, unsafety::check));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    assert_none("paths of one developer's machine", &each(&Tree::read(), |_| true, documents::check_machine_paths));
}

#[test]
fn floors_hold() {
    let manifests = floors::read_manifests();
    assert_none("dependency lines against the floors (ARCHITECTURE.md)", &floors::check(&manifests));
}

#[test]
fn every_library_is_accounted_for() {
    let architecture = Tree::read().text("ARCHITECTURE.md");
    let complaints = floors::check_reasons(&floors::read_manifests(), &architecture);
    assert_none("libraries that ARCHITECTURE.md gives no reason for", &complaints);
}

#[test]
fn planner_repeats_the_bans_of_the_root() {
    let tree = Tree::read();
    let complaints = floors::check_bans(&tree.text("clippy.toml"), &tree.text("supervisor/planner/clippy.toml"));
    assert_none("bans that supervisor/planner/clippy.toml lost", &complaints);
}

#[test]
fn what_is_tested_where_is_true() {
    let lanes: Vec<_> = skiff_integration_tests::lane::LANES.iter().map(|lane| lane.name).collect();
    assert_none("the table in README.md", &documents::check_lanes(&Tree::read().text("README.md"), &lanes));
}

#[test]
fn every_property_of_the_specification_has_a_row() {
    let tree = Tree::read();
    let table = tree.text("runtime/PROPERTIES.md");
    assert_none("runtime/PROPERTIES.md and its tests", &properties::check_proofs(&table, &tree.files));
    let mut known = properties::properties(&properties::schema());
    if known.is_empty() {
        return skip("no schema of the specification here (Debian's golang-github-opencontainers-specs-dev)");
    }
    known.extend(properties::listed(&tree.text("integration-tests/tests/tidy/properties.txt")));
    assert_none("runtime/PROPERTIES.md and the specification", &properties::check_complete(&table, &known));
}

#[test]
fn promises_can_be_read_by_a_program() {
    assert_none("SPECIFICATION.md", &documents::check_budgets(&Tree::read().text("SPECIFICATION.md")));
}

#[test]
fn documents_point_at_what_exists() {
    let tree = Tree::read();
    let targets = documents::make_targets(&tree.text("Makefile"));
    let documents = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    let complaints: Vec<_> = documents
        .flat_map(|file| {
            let mut complaints = documents::check_links(&file.path, &file.text, |path| tree.exists(path));
            complaints.extend(documents::check_make_words(&file.path, &file.text, &targets));
            complaints
        })
        .collect();
    assert_none("documents that went stale", &complaints);
}
