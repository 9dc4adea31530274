//! What is written, against what it means.

use super::*;

fn machine() -> Machine {
    Machine { hostname: "till-7".into(), arch: "arm64".into() }
}

fn with(text: &str, device: &str) -> Result<Config, String> {
    let raw = toml::from_str(text).map_err(|error| error.to_string())?;
    let device = toml::from_str(device).map_err(|error| error.to_string())?;
    let (path, device_path) = (Path::new("skiffd.toml"), Path::new("device.toml"));
    resolve(path, raw, device_path, device, &machine()).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let shipped = include_str!("../../../configs/skiffd.toml");
    // Its keys are comments, so that a default that changes with an update reaches those who never set it.
    let commented = |line: &str| {
        line.strip_prefix("#").filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned)
    };
    let lines: Vec<String> = shipped.lines().map(|line| commented(line).unwrap_or_else(|| line.to_owned())).collect();
    let mut written = with(&lines.join("\n"), "").unwrap();
    assert_eq!(with(shipped, "").unwrap(), with("", "").unwrap(), "the file as shipped changes nothing");
    // What has no default is an example there.
    assert_eq!(written.fleet.take().unwrap().user, "skiff-fetch");
    assert!(written.metrics.take().is_some() && written.systemd.take().is_some());
    assert_eq!(written, with("", "").unwrap());
}

#[test]
fn a_device_has_labels_of_its_own_and_of_the_machine() {
    let config = with("", "id = 'a'\n[labels]\nrole = 'kiosk'\nos = 'mine'").unwrap();
    assert_eq!(config.device.id, "a");
    let labels: Vec<_> = config.device.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["arch=arm64", "hostname=till-7", "os=mine", "role=kiosk"]);
    assert_eq!(with("", "").unwrap().device.id, "till-7");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (text, device, says) in [
        ("[fleet]\nurl = 'ftp://x'", "", "fleet.url"),
        ("[fleet]\nurll = 'http://x'", "", "urll"),
        ("[paths]\nrun = 'here'", "", "paths.run"),
        ("[logs]\nmax_files = 0", "", "logs.max_files"),
        ("[logs]\nmax_size = '1K'", "", "logs.max_size"),
        ("[metrics]\nlisten = 'here'", "", "listen"),
        ("", "id = 'a/b'", "`id` is `a/b`"),
        ("", "label = 1", "label"),
    ] {
        let error = with(text, device).unwrap_err();
        assert!(error.contains(says), "{text} {device}: {error}");
    }
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let missing = Path::new("/nonexistent/skiffd.toml");
    let error = load(Some(missing), &machine()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/skiffd.toml"), "{error}");
}

#[test]
fn the_address_may_be_given_with_the_index() {
    for url in ["http://h/f", "http://h/f/", "http://h/f/index.json"] {
        assert_eq!(with(&format!("[fleet]\nurl = '{url}'"), "").unwrap().fleet.unwrap().url, "http://h/f");
    }
}
