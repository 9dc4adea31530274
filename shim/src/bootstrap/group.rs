//! Which containers share one shim: those of a pod or of a service, by the annotations that every containerd shim
//! knows; and the few members of a `config.json` that a shim needs.

use super::Error;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The annotations that name a group, the first one that is there counts.
const ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What a shim reads of a configuration; all the rest is the runtime's.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: Option<String>,
}

impl Config {
    /// Reads the `config.json` of a bundle.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Json`].
    pub(crate) fn read(bundle: &Path) -> Result<Self, Error> {
        let path = bundle.join("config.json");
        let text = std::fs::read(&path).map_err(|source| Error::Config { path: path.clone(), source })?;
        parse(&text).map_err(|source| Error::Json { path, source })
    }

    /// The group of a container, which is the container itself when nothing says more.
    pub(crate) fn group<'a>(&'a self, id: &'a str) -> &'a str {
        let annotation = |name: &&str| self.annotations.as_ref()?.get(*name);
        let named = ANNOTATIONS.iter().find_map(annotation).filter(|group| !group.is_empty());
        named.map_or(id, String::as_str)
    }

    /// Whether the kernel kills everything in the container when its first process ends: only then does that process
    /// begin a pid namespace.
    pub(crate) fn dies_with_init(&self) -> bool {
        let namespaces = self.linux.as_ref().and_then(|linux| linux.namespaces.as_deref()).unwrap_or_default();
        let own = |entry: &Namespace| entry.kind == "pid" && entry.path.as_deref().is_none_or(str::is_empty);
        namespaces.iter().any(own)
    }
}

/// A list would do for serde as well, its first element as the first member.
fn parse(text: &[u8]) -> serde_json::Result<Config> {
    match text.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(text),
        Some(_) | None => Err(serde::de::Error::custom("it is not a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_an_object_is_a_configuration() {
        for text in ["", " ", "[]", "[null]", "null", "3", "{", "{} {}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b" \n{}").is_ok());
    }

    #[test]
    fn groups() {
        for (annotations, wanted) in [
            ("null", "web-0"),
            ("{}", "web-0"),
            (r#"{"io.containerd.runc.v2.group":"web"}"#, "web"),
            (r#"{"io.kubernetes.cri.sandbox-id":"pod"}"#, "pod"),
            (r#"{"io.containerd.runc.v2.group":"web","io.kubernetes.cri.sandbox-id":"pod"}"#, "web"),
            (r#"{"io.containerd.runc.v2.group":""}"#, "web-0"),
        ] {
            assert_eq!(config(&format!(r#"{{"annotations":{annotations}}}"#)).group("web-0"), wanted, "{annotations}");
        }
    }

    #[test]
    fn pid_namespaces() {
        for (namespaces, wanted) in [
            (r#"[{"type":"pid"}]"#, true),
            (r#"[{"type":"pid","path":""}]"#, true),
            (r#"[{"type":"pid","path":"/proc/1/ns/pid"}]"#, false),
            (r#"[{"type":"mount"}]"#, false),
            ("null", false),
        ] {
            let text = format!(r#"{{"linux":{{"namespaces":{namespaces}}}}}"#);
            assert_eq!(config(&text).dies_with_init(), wanted, "{namespaces}");
        }
        assert!(!config("{}").dies_with_init());
    }
}
