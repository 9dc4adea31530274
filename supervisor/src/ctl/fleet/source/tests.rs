//! What is wrong with a folder is shown with its place, all of it at once.
#![allow(clippy::unwrap_used)]

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let place = folder.path().join(name);
        crate::store::make_folder(place.parent().unwrap(), 0o755).unwrap();
        std::fs::write(place, text).unwrap();
    }
    folder
}

const FLEET: &str = "apiVersion: skiff.dev/v1
kind: Fleet
metadata: {name: kiosks, serial: 1}
releases:
  \"1\": releases/1.yaml
groups:
  - {name: all, release: \"1\"}
";

const RELEASE: &str = "apiVersion: skiff.dev/v1
kind: Release
metadata: {name: kiosk, version: \"1\"}
services:
  web:
    bundle: ../bundles/web
    restart: no
";

fn check(files: &[(&str, &str)], wanted: &[&str]) {
    let folder = folder(files);
    let problems = read(folder.path()).err().unwrap_or_default();
    let shown: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
    assert_eq!(shown.len(), wanted.len(), "{shown:#?}");
    for (shown, wanted) in shown.iter().zip(wanted) {
        let shown = shown.strip_prefix(&format!("{}/", folder.path().display())).unwrap();
        assert!(shown.starts_with(wanted) && !shown.contains('\n'), "{shown}");
    }
}

const BUNDLE: [(&str, &str); 2] = [("bundles/web/config.json", "{}"), ("bundles/web/rootfs/bin/sh", "")];

#[test]
fn a_good_folder() {
    check(&[("fleet.yaml", FLEET), ("releases/1.yaml", RELEASE), BUNDLE[0], BUNDLE[1]], &[]);
}

#[test]
fn nothing_there() {
    check(&[], &["fleet.yaml: cannot be read"]);
    check(&[("fleet.yaml", FLEET)], &["releases/1.yaml: cannot be read"]);
}

#[test]
fn each_document_says_its_line() {
    let fleet = FLEET.replace("serial: 1", "serial: 1, serail: 2");
    check(&[("fleet.yaml", &fleet)], &["fleet.yaml:3: "]);
    check(&[("fleet.yaml", &FLEET.replace("groups", "releases"))], &["fleet.yaml:6: "]);
    let release = RELEASE.replace("restart: no", "ports: [\"8080:80\"]");
    check(&[("fleet.yaml", FLEET), ("releases/1.yaml", &release)], &["releases/1.yaml:7: "]);
}

#[test]
fn everything_at_once() {
    let fleet = FLEET.replace("v1", "v2").replace("groups:", "  \"2\": ../2.yaml\n  \"3\": releases/3.yaml\ngroups:");
    let fleet = fleet + "  - {name: late, release: \"1\"}\n";
    let release = RELEASE.replace("version: \"1\"", "version: \"9\"").replace("web\n", "gone\n");
    let release = release + "    cap_add: [ALL]\n";
    check(
        &[("fleet.yaml", &fleet), ("releases/1.yaml", &release), ("releases/3.yaml", "[")],
        &[
            "fleet.yaml:1: apiVersion: `skiff.dev/v2` is another version",
            "fleet.yaml:5: releases.1: the release says that it is `9`",
            "fleet.yaml:6: `../2.yaml` does not lie below",
            "fleet.yaml:10: warning: groups[1]: no device comes here",
            "releases/1.yaml:6: `bundle` is `../bundles/gone`, and there is no",
            "releases/1.yaml:8: services.web.",
            "releases/3.yaml:1: ",
        ],
    );
}

#[test]
fn bundles_stay_in_the_folder() {
    for (bundle, says) in [
        ("../../web", "which does not lie below"),
        ("../bundles/web/config.json", "neither a folder nor named"),
        ("../bundles", "a folder without `config.json`"),
    ] {
        let release = RELEASE.replace("../bundles/web", bundle);
        let folder = folder(&[("fleet.yaml", FLEET), ("releases/1.yaml", &release), BUNDLE[0], BUNDLE[1]]);
        let problems = read(folder.path()).err().unwrap();
        assert!(problems[0].to_string().contains(says), "{}", problems[0]);
    }
    let release = RELEASE.replace("../bundles/web", "/opt/web");
    check(&[("fleet.yaml", FLEET), ("releases/1.yaml", &release)], &[]);
}
