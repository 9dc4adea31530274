//! Holds a document against what this runtime enforces. Pure: the document alone decides.

use super::Error;
use oci_spec::runtime::Spec;

/// The newest minor version of the specification whose members are all known here; one of a later version might name
/// something that would be ignored.
const NEWEST_MINOR: u64 = 3;

const NO_SELINUX: &str = "SELinux is not built in, so no mount would get the label";
const NO_RDT: &str = "skiff has no control of caches and memory bandwidth, which takes a server's processor (resctrl)";
const OTHER_SYSTEM: &str = "it belongs to another operating system";

/// Checks the members that no other room looks at.
///
/// # Errors
/// [`Error::Version`], [`Error::Missing`] or [`Error::Unsupported`], naming the member.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    check_version(spec.version())?;
    if spec.root().is_none() {
        return Err(Error::Missing { property: "root" });
    }
    if spec.process().is_none() {
        return Err(Error::Missing { property: "process" });
    }
    if spec.linux().is_none() {
        return Err(Error::Missing { property: "linux" });
    }
    match unsupported(spec).into_iter().find(|(_, present, _)| *present) {
        Some((property, _, reason)) => Err(Error::Unsupported { property, reason }),
        None => Ok(()),
    }
}

fn check_version(version: &str) -> Result<(), Error> {
    let refuse = || Error::Version(version.to_owned());
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<u64> = release.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| refuse())?;
    match numbers[..] {
        [1, minor, _] if minor <= NEWEST_MINOR => Ok(()),
        _ => Err(refuse()),
    }
}

fn unsupported(spec: &Spec) -> [(&'static str, bool, &'static str); 6] {
    let linux = spec.linux().as_ref();
    let asked = |present: fn(&oci_spec::runtime::Linux) -> bool| linux.is_some_and(present);
    [
        ("linux.mountLabel", asked(|linux| linux.mount_label().as_ref().is_some_and(|it| !it.is_empty())), NO_SELINUX),
        ("linux.intelRdt", asked(|linux| linux.intel_rdt().is_some()), NO_RDT),
        ("vm", spec.vm().is_some(), "skiff does not run virtual machines"),
        ("windows", spec.windows().is_some(), OTHER_SYSTEM),
        ("solaris", spec.solaris().is_some(), OTHER_SYSTEM),
        ("zos", spec.zos().is_some(), OTHER_SYSTEM),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(extra: &str) -> Spec {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"r"}},"process":{{"cwd":"/","user":{{"uid":0,"gid":0}}}}{extra}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.1.0+x", "1.2.1", "1.3.0", "1.3.9"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "1.4.0", "1.0.x", "one", "1.0.0.0", "-1.0.0", " 1.0.0"] {
            assert!(matches!(check_version(bad), Err(Error::Version(text)) if text == bad), "{bad}");
        }
    }

    #[test]
    fn freebsd_has_no_effect() {
        assert!(check(&spec(r#","linux":{},"freebsd":{"jail":{}}"#)).is_ok());
    }

    #[test]
    fn what_is_not_built_is_named() {
        let cases = [
            (r#","linux":{"mountLabel":"x"}"#, "linux.mountLabel"),
            (r#","linux":{"intelRdt":{}}"#, "linux.intelRdt"),
            (r#","linux":{},"solaris":{}"#, "solaris"),
            (r#","linux":{},"zos":{}"#, "zos"),
            (r#","linux":{},"windows":{"layerFolders":["x"]}"#, "windows"),
            (r#","linux":{},"vm":{"kernel":{"path":"/k"}}"#, "vm"),
        ];
        for (extra, name) in cases {
            match check(&spec(extra)) {
                Err(Error::Unsupported { property, .. }) => assert_eq!(property, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(check(&spec(r#","linux":{"mountLabel":""}"#)).is_ok());
        assert!(matches!(check(&spec("")), Err(Error::Missing { property: "linux" })));
    }
}
