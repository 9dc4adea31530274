//! What a caller may choose about the runtime: the options message of Create, in the two forms in which containerd
//! sends it. A message of another type is another shim's and is ignored, as containerd's own shims do.

use containerd_shim_protos::shim::oci;
use protobuf::well_known_types::any::Any;
use protobuf::{CodedInputStream, Message};

/// The options that mean something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) binary_name: String,
    pub(crate) root: String,
    pub(crate) systemd_cgroup: bool,
    pub(crate) no_pivot_root: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) shim_cgroup: String,
    pub(crate) io_owner: (u32, u32),
}

/// Why options cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its bytes are not a message.
    #[error("runtime options of type `{type_url}` cannot be read")]
    Message { type_url: String, source: protobuf::Error },
    /// A line that means nothing.
    #[error(
        "runtime option `{0}` is not understood; there are BinaryName, Root, ShimCgroup, SystemdCgroup, NoPivotRoot, NoNewKeyring, IoUid and IoGid"
    )]
    Line(String),
    /// A path to a file instead of the options.
    #[error("runtime options in the file `{0}` are not read; put them into containerd's own configuration")]
    File(String),
}

/// Reads the message.
///
/// # Errors
/// See [`Error`].
pub(crate) fn read(any: Option<&Any>) -> Result<Options, Error> {
    let Some(any) = any else { return Ok(Options::default()) };
    let failed = |source| Error::Message { type_url: any.type_url.clone(), source };
    match any.type_url.rsplit('/').next() {
        Some("containerd.runc.v1.Options") => Ok(oci::Options::parse_from_bytes(&any.value).map_err(failed)?.into()),
        Some("runtimeoptions.v1.Options") => {
            let generic = Generic::parse(&any.value).map_err(failed)?;
            match generic.config_path.as_str() {
                "" => lines(&generic.config_body),
                path => Err(Error::File(path.to_owned())),
            }
        }
        Some(_) | None => Ok(Options::default()),
    }
}

impl From<oci::Options> for Options {
    fn from(options: oci::Options) -> Self {
        Self {
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_owner: (options.io_uid, options.io_gid),
        }
    }
}

/// `runtimeoptions.v1.Options`, which the protocol's crate has not got: a path, or the text of a TOML table.
#[derive(Debug, Default)]
struct Generic {
    config_path: String,
    config_body: String,
}

impl Generic {
    fn parse(bytes: &[u8]) -> protobuf::Result<Self> {
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut generic = Self::default();
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                // Field 2 and 3, length-delimited; field 1 is the type of the shim itself.
                0x12 => generic.config_path = input.read_string()?,
                0x1a => generic.config_body = String::from_utf8_lossy(&input.read_bytes()?).into_owned(),
                _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
            }
        }
        Ok(generic)
    }
}

/// The lines of a flat TOML table, which is all that containerd writes.
fn lines(text: &str) -> Result<Options, Error> {
    let mut options = Options::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let refused = || Error::Line(line.to_owned());
        let (name, value) = line.split_once('=').ok_or_else(refused)?;
        let value = value.trim();
        let text =
            || value.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\''])).ok_or_else(refused);
        let truth = || value.parse::<bool>().map_err(|_| refused());
        let number = || value.parse::<u32>().map_err(|_| refused());
        match name.trim() {
            "BinaryName" => options.binary_name = text()?.to_owned(),
            "Root" => options.root = text()?.to_owned(),
            "ShimCgroup" => options.shim_cgroup = text()?.to_owned(),
            "SystemdCgroup" => options.systemd_cgroup = truth()?,
            "NoPivotRoot" => options.no_pivot_root = truth()?,
            "NoNewKeyring" => options.no_new_keyring = truth()?,
            "IoUid" => options.io_owner.0 = number()?,
            "IoGid" => options.io_owner.1 = number()?,
            // They are about checkpoints, which Create refuses by itself.
            "CriuImagePath" | "CriuWorkPath" | "CriuPath" => drop(text()?),
            _ => return Err(refused()),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.to_owned(), value, ..Any::default() }
    }

    fn generic(field: u8, text: &str) -> Any {
        let mut value = vec![0x0a, 1, b't', field, u8::try_from(text.len()).unwrap()];
        value.extend(text.as_bytes());
        any("runtimeoptions.v1.Options", value)
    }

    #[test]
    fn both_forms_are_read_and_others_ignored() {
        let wire = oci::Options { binary_name: "runc".into(), root: "/r".into(), io_uid: 7, ..Default::default() };
        let bytes = wire.write_to_bytes().unwrap();
        let wanted = Options { binary_name: "runc".into(), root: "/r".into(), io_owner: (7, 0), ..Options::default() };
        assert_eq!(read(Some(&any("containerd.runc.v1.Options", bytes.clone()))).unwrap(), wanted);
        assert_eq!(read(Some(&any("types.example/containerd.runc.v1.Options", bytes))).unwrap(), wanted);
        let toml = "# comment\n  BinaryName = \"runc\"\n\nRoot=\"/r\"\nIoUid = 7\n";
        assert_eq!(read(Some(&generic(0x1a, toml))).unwrap(), wanted);
        assert_eq!(read(Some(&any("io.containerd.other.v1.Options", vec![1, 2, 3]))).unwrap(), Options::default());
        assert_eq!(read(None).unwrap(), Options::default());
    }

    #[test]
    fn refusals() {
        let broken = any("containerd.runc.v1.Options", vec![0xff]);
        assert!(matches!(read(Some(&broken)), Err(Error::Message { .. })));
        assert!(matches!(read(Some(&generic(0x12, "/etc/x.toml"))), Err(Error::File(_))));
        for line in ["Colour = \"red\"", "BinaryName", "BinaryName = 3", "SystemdCgroup = \"yes\""] {
            assert!(matches!(read(Some(&generic(0x1a, line))), Err(Error::Line(_))), "{line}");
        }
    }
}
