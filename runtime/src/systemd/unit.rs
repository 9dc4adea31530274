//! What a container's unit is called and where its cgroup is: `linux.cgroupsPath` read as runc's systemd driver reads
//! it, `slice:prefix:name` (runc, docs/systemd.md).

use super::Error;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The longest name of a unit in bytes, systemd.unit(5).
const LONGEST: usize = 255;
const FORM: &str = "with the systemd driver it has the form `slice:prefix:name`, such as `system.slice:skiff:web`; \
                    leave --systemd-cgroup out for a path";
const SLICE: &str = "its slice is not the name of one, such as `machine.slice` or `user-1000.slice`";

/// The unit of a container, as its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Such as `skiff-web.scope`.
    pub name: String,
    /// Whose manager has it; PID 1 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// A unit and the slice that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Such as `skiff-web.scope`.
    pub unit: String,
    /// Such as `system.slice`.
    pub slice: String,
}

/// Reads `linux.cgroupsPath`. Without one the unit is named by the container.
///
/// # Errors
/// [`Error::Path`].
pub fn place(cgroups_path: Option<&Path>, id: &str, of_user: bool) -> Result<Place, Error> {
    let default = if of_user { "user.slice" } else { "system.slice" };
    let Some(path) = cgroups_path.filter(|path| !path.as_os_str().is_empty()) else {
        // The one letter of ids that unit names do not have (systemd-escape(1)).
        let unit = format!("skiff-{}.scope", id.replace('+', "\\x2b"));
        let found = Place { unit, slice: default.into() };
        return checked(found).map_err(|reason| Error::Path { path: PathBuf::from(id), reason });
    };
    let refuse = |reason| Error::Path { path: path.into(), reason };
    let text = path.to_str().ok_or_else(|| refuse(FORM))?;
    let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else { return Err(refuse(FORM)) };
    if text.contains('/') || name.is_empty() {
        return Err(refuse(FORM));
    }
    if name.ends_with(".slice") {
        return Err(refuse("a container is a scope and not a slice; give a name without `.slice`"));
    }
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    let slice = if slice.is_empty() { default } else { slice }.to_owned();
    checked(Place { unit, slice }).map_err(refuse)
}

fn checked(place: Place) -> Result<Place, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte);
    if !place.unit.bytes().all(allowed) {
        return Err("the name of a unit is made of letters, digits and `:-_.\\` (see systemd-escape(1))");
    }
    if place.unit.len() > LONGEST {
        return Err(
            "it makes the name of a unit that is longer than 255 bytes; give a shorter one as `slice:prefix:name`",
        );
    }
    let Some(stem) = place.slice.strip_suffix(".slice") else { return Err(SLICE) };
    // `-.slice` is the root; else the dashes separate names.
    let sound = stem == "-" || stem.split('-').all(|part| !part.is_empty() && part.bytes().all(allowed));
    if sound && place.slice.len() <= LONGEST { Ok(place) } else { Err(SLICE) }
}

impl Place {
    /// The cgroup below that of the manager: a slice `a-b.slice` lies in `a.slice` (systemd.slice(5)).
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        let slices = ends.filter(|_| stem != "-").map(|end| format!("{}.slice", &stem[..end]));
        slices.chain([self.unit.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: Option<&str>, of_user: bool) -> String {
        place(path.map(Path::new), "a+b", of_user).unwrap().path().to_str().unwrap().to_owned()
    }

    #[test]
    fn names_follow_the_rules_of_runc() {
        assert_eq!(paths(Some("machine.slice:skiff:web"), false), "machine.slice/skiff-web.scope");
        assert_eq!(paths(Some("a-b-c.slice:p:n"), false), "a.slice/a-b.slice/a-b-c.slice/p-n.scope");
        assert_eq!(paths(Some("::n"), false), "system.slice/n.scope");
        assert_eq!(paths(Some(":p:n"), true), "user.slice/p-n.scope");
        assert_eq!(paths(Some("-.slice:p:n"), true), "p-n.scope");
        assert_eq!(paths(None, false), "system.slice/skiff-a\\x2bb.scope");
        assert_eq!(paths(Some(""), true), "user.slice/skiff-a\\x2bb.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let refused = |path: &str| place(Some(Path::new(path)), "x", false).unwrap_err().to_string();
        for path in ["/skiff/x", "x", "a:b", "a.slice:b:c:d", "a.slice:b:", "a.slice:b/c:d"] {
            assert!(refused(path).contains("`slice:prefix:name`"), "{path}");
        }
        for path in ["a:b:c", ".slice:b:c", "a--b.slice:p:n", "-a.slice:p:n", "a-.slice:p:n", "a b.slice:p:n"] {
            assert!(refused(path).contains("slice is not the name of one"), "{path}");
        }
        assert!(refused("::a b").contains("made of letters"));
        assert!(refused("::a@b").contains("made of letters"));
        assert!(refused("::pod.slice").contains("not a slice"));
        assert!(refused(&format!("::{}", "n".repeat(250))).contains("longer than 255"));
        assert!(place(None, &"n".repeat(250), false).is_err());
    }

    #[test]
    fn a_unit_is_kept_as_little_text() {
        let kept = |unit: &Unit| serde_json::to_string(unit).unwrap();
        let system = Unit { name: "a.scope".into(), user: None };
        assert_eq!(kept(&system), r#"{"name":"a.scope"}"#);
        let users: Unit = serde_json::from_str(r#"{"name":"a.scope","user":1000}"#).unwrap();
        assert_eq!(users.user, Some(1000));
    }
}
