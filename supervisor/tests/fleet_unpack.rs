//! Archives of people who mean harm, built byte by byte and unpacked by the real child. Each is refused with its reason, or
//! does what it says inside its own folder; nothing is written elsewhere and nothing half unpacked stays.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; these programs only play with its output")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

use skiff_supervisor::fleet::Limits;
use skiff_supervisor::fleet::unpack::{self, Error};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// One block of 512 bytes that says what comes next, POSIX pax(1).
struct Head {
    name: Vec<u8>,
    kind: u8,
    size: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    uid: u32,
}

impl Head {
    fn new(name: &str, kind: u8) -> Self {
        let (name, size) = (name.as_bytes().to_vec(), octal(0));
        Self { name, kind, size, link: Vec::new(), mode: 0o644, uid: 0 }
    }

    fn block(&self) -> Vec<u8> {
        let mut block = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, b"0000000");
        put(124, &self.size);
        put(136, b"00000000000");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

fn octal(size: usize) -> Vec<u8> {
    format!("{size:011o}").into_bytes()
}

fn entry(name: &str, kind: u8, link: &str, bytes: &[u8]) -> Vec<u8> {
    let head = Head { size: octal(bytes.len()), link: link.as_bytes().to_vec(), ..Head::new(name, kind) };
    let mut entry = head.block();
    entry.extend(bytes);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    entry(name, b'0', "", bytes)
}

fn folder(name: &str) -> Vec<u8> {
    Head { mode: 0o755, ..Head::new(name, b'5') }.block()
}

fn symlink(name: &str, to: &str) -> Vec<u8> {
    entry(name, b'2', to, b"")
}

fn link(name: &str, to: &str) -> Vec<u8> {
    entry(name, b'1', to, b"")
}

/// A PAX record about the next entry.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let body = format!(" {key}={value}\n");
    let mut length = body.len() + 1;
    while format!("{length}{body}").len() != length {
        length = format!("{length}{body}").len();
    }
    entry("pax", b'x', "", format!("{length}{body}").as_bytes())
}

/// A bundle that is fine, with these entries after its own.
fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let own = [file("config.json", b"{}"), folder("rootfs/"), file("rootfs/version", b"1")];
    ended(&[own.concat(), entries.concat()].concat())
}

/// With the two empty blocks that end an archive.
fn ended(entries: &[u8]) -> Vec<u8> {
    [entries, &[0; 1024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A place to unpack to, beside files that must stay as they are.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("bundles")).unwrap();
        fs::write(place.at("canary"), "untouched").unwrap();
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    async fn unpack_with(&self, archive: &[u8], limits: &Limits) -> Result<Vec<String>, Error> {
        fs::write(self.at("archive"), archive).unwrap();
        let from = File::open(self.at("archive")).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_skiffd"));
        let outcome = unpack::unpack(program, limits, from, archive.len() as u64, &self.at("bundles/b")).await;
        fs::remove_file(self.at("archive")).unwrap();
        outcome
    }

    /// Whatever happened: nothing but the bundle is here, and it is there only when it was taken.
    fn check(&self, what: &str, taken: bool) {
        let names = |folder: &Path| -> Vec<_> {
            let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.0.path()), ["bundles", "canary"], "{what}");
        assert_eq!(names(&self.at("bundles")), if taken { &["b"][..] } else { &[] }, "{what}");
        let canary = self.at("canary");
        assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched", "{what}");
        assert_eq!(fs::metadata(&canary).unwrap().nlink(), 1, "{what}");
    }
}

/// Refused, as an archive that is wrong, with these words on one line.
async fn refused_with(what: &str, archive: &[u8], words: &str, limits: &Limits) {
    let place = Place::new();
    match place.unpack_with(archive, limits).await {
        Err(Error::Refused(text)) => {
            assert!(text.contains(words), "{what}: {text}");
            assert!(!text.chars().any(char::is_control) && text.len() < 1000, "{what}: {text:?}");
        }
        other => panic!("{what}: {other:?}"),
    }
    place.check(what, false);
}

async fn refused(what: &str, archive: &[u8], words: &str) {
    refused_with(what, archive, words, &Limits::default()).await;
    let packed = gzip(archive);
    refused_with(&format!("{what}, packed"), &packed, words, &Limits::default()).await;
}

/// Taken; gives the place for a closer look.
async fn taken(what: &str, archive: &[u8]) -> Place {
    let place = Place::new();
    let outcome = place.unpack_with(archive, &Limits::default()).await;
    assert!(outcome.is_ok(), "{what}: {outcome:?}");
    place.check(what, true);
    place
}

#[tokio::test]
async fn paths_stay_below() {
    for (name, words) in [
        ("../canary", "goes up by `..`"),
        ("rootfs/../../canary", "goes up by `..`"),
        ("rootfs/..", "goes up by `..`"),
        ("/canary", "has an absolute path"),
        ("//canary", "has an absolute path"),
        ("rootfs", "is not what it should be"),
        ("canary", "a bundle has nothing else"),
        ("./elsewhere/x", "a bundle has nothing else"),
        ("config.json/x", "a bundle has nothing else"),
    ] {
        refused(name, &bundle(&[file(name, b"gone")]), words).await;
        // The same in the two longer forms.
        let long = entry("././@LongLink", b'L', "", format!("{name}\0").as_bytes());
        refused(name, &bundle(&[long, file("rootfs/x", b"gone")]), words).await;
        refused(name, &bundle(&[pax("path", name), file("rootfs/x", b"gone")]), words).await;
    }
    refused("a folder that goes up", &bundle(&[folder("rootfs/a/../../../x/")]), "goes up by `..`").await;
    refused("a zero", &bundle(&[pax("path", "rootfs/a\0b"), file("rootfs/x", b"")]), "has a zero in its path").await;
    refused("no name", &bundle(&[file("", b"")]), "has a path of a length that does not exist").await;
    refused("a bell", &bundle(&[file("\x1b[2J\x07", b"")]), "a bundle has nothing else").await;
}

#[tokio::test]
async fn links_lead_nowhere_while_unpacking() {
    let place = Place::new();
    let outside = place.0.path().to_str().unwrap();
    for to in [outside, "..", "../..", "/", "."] {
        let through = bundle(&[symlink("rootfs/out", to), file("rootfs/out/canary", b"gone")]);
        refused(&format!("written through a link to {to}"), &through, "lies beyond a link or a file").await;
        let deeper = bundle(&[symlink("rootfs/out", to), folder("rootfs/out/new/"), file("rootfs/out/new/x", b"")]);
        refused(&format!("a folder through a link to {to}"), &deeper, "lies beyond a link or a file").await;
        let replaced = bundle(&[symlink("rootfs/out", to), folder("rootfs/out/")]);
        refused("a folder in place of a link", &replaced, "is there twice").await;
        let over = bundle(&[symlink("rootfs/out", to), file("rootfs/out", b"gone")]);
        refused("a file in place of a link", &over, "is there twice").await;
    }
    let canary = format!("{outside}/canary");
    refused("a file over a link to it", &bundle(&[symlink("rootfs/x", &canary), file("rootfs/x", b"gone")]), "twice")
        .await;
    for (name, what) in [("rootfs", "the root"), ("config.json", "the configuration")] {
        let archive = ended(&[symlink(name, "/etc"), file("rootfs/x", b"")].concat());
        refused(what, &archive, "is not what it should be at the top").await;
    }
    let folder_for_link = bundle(&[folder("rootfs/d/"), symlink("rootfs/d", "/etc"), file("rootfs/d/x", b"")]);
    refused("a link in place of a folder", &folder_for_link, "is there twice").await;
    refused("a link to nothing", &bundle(&[symlink("rootfs/x", "")]), "is a link to nothing").await;
    // Left alone it is a text, which only the container's own root gives a meaning.
    let links = [symlink("rootfs/abs", "/etc/passwd"), symlink("rootfs/up", "../../../canary")];
    let place = taken("links that nobody follows", &bundle(&links)).await;
    assert_eq!(fs::read_link(place.at("bundles/b/rootfs/abs")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_link(place.at("bundles/b/rootfs/up")).unwrap(), Path::new("../../../canary"));
}

#[tokio::test]
async fn second_names_are_of_files_of_the_archive() {
    let place = Place::new();
    let canary = place.at("canary");
    let outside = place.0.path().to_str().unwrap();
    for (to, words) in [
        (canary.to_str().unwrap(), "has an absolute path"),
        ("/etc/passwd", "has an absolute path"),
        ("../../canary", "goes up by `..`"),
        ("rootfs/../../../canary", "goes up by `..`"),
        ("config.json", "is no file that came before it"),
        ("rootfs/missing", "is no file that came before it"),
        ("rootfs", "is no file that came before it"),
        ("", "is a link to nothing"),
    ] {
        refused(&format!("another name of {to}"), &bundle(&[link("rootfs/x", to)]), words).await;
    }
    let through = bundle(&[symlink("rootfs/out", outside), link("rootfs/x", "rootfs/out/canary")]);
    refused("through a link", &through, "is no file that came before it").await;
    let of_link = bundle(&[symlink("rootfs/out", canary.to_str().unwrap()), link("rootfs/x", "rootfs/out")]);
    refused("another name of a link", &of_link, "is no file that came before it").await;
    let twice = bundle(&[file("rootfs/a", b"a"), link("rootfs/version", "rootfs/a")]);
    refused("over a file", &twice, "is there twice").await;
    refused(
        "a configuration",
        &ended(&[file("rootfs/a", b"{}"), link("config.json", "rootfs/a")].concat()),
        "at the top",
    )
    .await;
    let place = taken("a second name", &bundle(&[folder("rootfs/d/"), link("rootfs/d/x", "rootfs/version")])).await;
    assert_eq!(fs::read_to_string(place.at("bundles/b/rootfs/d/x")).unwrap(), "1");
}

#[tokio::test]
async fn only_files_folders_and_links() {
    for (kind, words) in [
        (b'3', "is a device"),
        (b'4', "is a device"),
        (b'6', "is a pipe"),
        (b'S', "is a sparse file"),
        (b'V', "is of kind 'V'"),
        (b'M', "is of kind 'M'"),
        (b'D', "is of kind 'D'"),
        (b'Z', "is of kind 'Z'"),
    ] {
        refused(&format!("kind {}", char::from(kind)), &bundle(&[entry("rootfs/x", kind, "", b"")]), words).await;
    }
    for key in ["SCHILY.xattr.security.capability", "GNU.sparse.major", "GNU.sparse.realsize", "RHT.security.selinux"] {
        let archive = bundle(&[pax(key, "1"), file("rootfs/x", b"")]);
        refused(key, &archive, &format!("a PAX record `{key}`")).await;
    }
    let names = bundle(&[pax("path", "rootfs/a"), pax("path", "rootfs/b"), file("rootfs/x", b"")]);
    refused("two names", &names, "two names for one entry").await;
    refused("a name of nothing", &bundle(&[pax("path", "rootfs/a")]), "ends with a name of nothing").await;
    let sizes = bundle(&[pax("size", "4"), file("rootfs/x", b"12345678")]);
    // The reader believes the record, and what follows is then no header; either way it is refused.
    refused("two sizes", &sizes, "rootfs/").await;
    refused("a folder with bytes", &bundle(&[entry("rootfs/x/", b'5', "", b"12")]), "is no file, and has bytes").await;
    refused("no owner", &bundle(&[pax("uid", "4294967295"), file("rootfs/x", b"")]), "has no owner").await;
    refused("no number", &bundle(&[pax("uid", "-1"), file("rootfs/x", b"")]), "a PAX number that is none").await;
}

#[tokio::test]
async fn permissions_are_kept_where_nobody_else_comes() {
    let shell = Head { mode: 0o6755, uid: 7, ..Head::new("rootfs/su", b'0') }.block();
    let place =
        taken("set-user-id", &bundle(&[shell, Head { mode: 0o1777, ..Head::new("rootfs/tmp/", b'5') }.block()])).await;
    let look = |path: &str| fs::symlink_metadata(place.at(path)).unwrap();
    let root = rustix::process::geteuid().is_root();
    assert_eq!(look("bundles/b/rootfs/su").permissions().mode() & 0o7777, 0o6755);
    assert_eq!(look("bundles/b/rootfs/su").uid(), if root { 7 } else { rustix::process::geteuid().as_raw() });
    assert_eq!(look("bundles/b/rootfs/tmp").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(look("bundles/b").permissions().mode() & 0o7777, 0o700, "no user of the device reaches it");
    // A folder that nobody may enter is cleared away all the same.
    let shut =
        [Head { mode: 0, ..Head::new("rootfs/shut/", b'5') }.block(), file("rootfs/shut/x", b""), file("../x", b"")];
    refused("a folder that is shut", &bundle(&shut), "goes up by `..`").await;
}

#[tokio::test]
async fn nothing_is_there_twice() {
    let twice = |first: Vec<u8>, second: Vec<u8>| bundle(&[first, second]);
    for (what, archive) in [
        ("a file twice", twice(file("rootfs/x", b"1"), file("rootfs/x", b"2"))),
        ("the same by another path", twice(file("rootfs/x", b"1"), file("./rootfs//./x", b"2"))),
        ("a file in place of a folder", twice(folder("rootfs/x/"), file("rootfs/x", b"2"))),
        ("a folder in place of a file", twice(file("rootfs/x", b"1"), folder("rootfs/x/"))),
        ("a link twice", twice(symlink("rootfs/x", "a"), symlink("rootfs/x", "b"))),
        ("a configuration twice", twice(file("config.json", b"{\"a\":1}"), Vec::new())),
    ] {
        refused(what, &archive, "is there twice").await;
    }
    refused("a file as a folder", &twice(file("rootfs/x", b"1"), file("rootfs/x/y", b"2")), "lies beyond a link").await;
    let shut = Head { mode: 0o500, ..Head::new("rootfs/x/", b'5') }.block();
    let place = taken("a folder twice", &bundle(&[folder("rootfs/x/"), file("rootfs/x/y", b""), shut])).await;
    assert_eq!(fs::metadata(place.at("bundles/b/rootfs/x")).unwrap().permissions().mode() & 0o7777, 0o500);
}

#[tokio::test]
async fn sizes_are_not_believed() {
    for (what, size) in [("octal", b"77777777777".to_vec()), ("binary", [&[0x80, 0, 0, 0, 0][..], &[0x7f; 7]].concat())]
    {
        let claim = Head { size, ..Head::new("rootfs/huge", b'0') }.block();
        refused(&format!("a huge file, {what}"), &bundle(&[claim]), "rootfs/huge").await;
    }
    let negative = Head { size: vec![0xff; 12], ..Head::new("rootfs/huge", b'0') }.block();
    refused("a negative size", &bundle(&[negative]), "rootfs/").await;
    let small = Limits { unpacked: 1000, ..Limits::default() };
    refused_with("too much", &bundle(&[file("rootfs/x", &[1; 1000])]), "makes it more than 1000 bytes", &small).await;
    let many: Vec<_> = (0..3).map(|number| file(&format!("rootfs/{number}"), &[1; 400])).collect();
    refused_with("too much in pieces", &bundle(&many), "makes it more than 1000 bytes", &small).await;
    let few = Limits { entries: 20, ..Limits::default() };
    let many: Vec<_> = (0..18).map(|number| file(&format!("rootfs/{number}"), b"")).collect();
    refused_with("too many", &bundle(&many), "has more than 20 entries", &few).await;
    // Records about an entry count too.
    let records: Vec<_> = (0..30).map(|_| entry("pax", b'g', "", b"16 comment=abcd\n")).collect();
    refused_with("too many records", &bundle(&records), "has more than 20 entries", &few).await;
}

#[tokio::test]
async fn bombs_do_not_go_off() {
    // 100 members of a mebibyte of zeros each: a file of 100 MiB in as many kilobytes.
    let zeros = gzip(&vec![0; 1 << 20]);
    let head = Head { size: octal(100 << 20), ..Head::new("rootfs/zeros", b'0') }.block();
    let start = gzip(&[file("config.json", b"{}"), folder("rootfs/"), head].concat());
    let bomb = [start.clone(), zeros.repeat(100), gzip(&[0; 1024])].concat();
    refused_with("a bomb", &bomb, "grows beyond all measure", &Limits::default()).await;
    let after = [gzip(&bundle(&[])), zeros.repeat(100)].concat();
    refused_with("a bomb after the end", &after, "grows beyond all measure", &Limits::default()).await;
    // An archive in an archive is a file.
    let nested = gzip(&gzip(&bundle(&[])));
    refused_with("an archive in an archive", &nested, "no tar archive", &Limits::default()).await;
}

#[tokio::test]
async fn depth_and_length_have_an_end() {
    let long = |name: &str| entry("././@LongLink", b'L', "", format!("{name}\0").as_bytes());
    let deep = |levels: usize| format!("rootfs/{}x", "d/".repeat(levels));
    let place = taken("100 levels", &bundle(&[long(&deep(100)), file("rootfs/x", b"deep")])).await;
    assert_eq!(fs::read_to_string(place.at("bundles/b").join(deep(100))).unwrap(), "deep");
    refused("2000 levels", &bundle(&[long(&deep(2000)), file("rootfs/x", b"")]), "levels deep").await;
    let (longest, longer) = (format!("rootfs/{}", "n".repeat(255)), format!("rootfs/{}", "n".repeat(256)));
    let place = taken("a name of 255 bytes", &bundle(&[long(&longest), file("rootfs/x", b"")])).await;
    assert!(place.at("bundles/b").join(longest).is_file());
    refused("a name of 256 bytes", &bundle(&[long(&longer), file("rootfs/x", b"")]), "has a name that is too long")
        .await;
    let path = format!("rootfs/{}", "long/".repeat(900));
    refused("a path of 4.5 kB", &bundle(&[long(&path), file("rootfs/x", b"")]), "has a name or record of").await;
    refused("the same in a record", &bundle(&[pax("path", &path), file("rootfs/x", b"")]), "of a length that does not")
        .await;
    let text = "x".repeat(5000);
    let target = entry("././@LongLink", b'K', "", text.as_bytes());
    refused("a link to 5 kB", &bundle(&[target, symlink("rootfs/x", "y")]), "has a name or record of").await;
    let record = pax("comment", &"x".repeat(70_000));
    refused("a record of 70 kB", &bundle(&[record, file("rootfs/x", b"")]), "has a name or record of").await;
}

#[tokio::test]
async fn half_an_archive_is_none() {
    let whole = bundle(&[file("rootfs/a", &[7; 1500]), file("rootfs/b", b"last")]);
    let packed = gzip(&whole);
    for cut in [1, 2, 10, 20, packed.len() / 2, packed.len() - 20, packed.len() - 9] {
        let place = Place::new();
        let outcome = place.unpack_with(&packed[..cut], &Limits::default()).await;
        assert!(
            matches!(&outcome, Err(Error::Refused(text)) if text.starts_with("the archive ")),
            "{cut}: {outcome:?}"
        );
        place.check("cut off", false);
    }
    // Within a header, within a file, and between two entries, where nothing but the end is missing.
    for cut in [100, 512, 1700, 3000, 3584, whole.len() - 1024, whole.len() - 1536, whole.len() - 2000] {
        let place = Place::new();
        let outcome = place.unpack_with(&whole[..cut], &Limits::default()).await;
        assert!(matches!(&outcome, Err(Error::Refused(text)) if text.contains("cut off")), "{cut}: {outcome:?}");
        place.check("cut off", false);
    }
    refused_with("nothing", b"", "is empty", &Limits::default()).await;
    refused_with("noise", &[0xa5; 4096], "no tar archive", &Limits::default()).await;
    refused_with("a web page", &b"<html>Sign in</html>".repeat(100), "no tar archive", &Limits::default()).await;
    for (magic, name) in [(&[0x28, 0xb5, 0x2f, 0xfd][..], "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh91AY", "bzip2")] {
        refused_with(name, &[magic, &[0; 600]].concat(), name, &Limits::default()).await;
    }
    let mut flipped = packed.clone();
    flipped[packed.len() / 2] ^= 0x55;
    let place = Place::new();
    assert!(matches!(place.unpack_with(&flipped, &Limits::default()).await, Err(Error::Refused(_))));
    place.check("a byte that went bad", false);
}

#[tokio::test]
async fn nothing_follows_the_end() {
    let hidden = [file("rootfs/hidden", b"x"), file("../canary", b"gone")].concat();
    for (what, more) in [("noise", vec![0xa5; 4096]), ("another archive", ended(&hidden)), ("a piece", vec![1; 7])] {
        refused(what, &[bundle(&[]), more.clone()].concat(), "goes on after its end").await;
        let packed_and_more = [gzip(&bundle(&[])), more.clone()].concat();
        refused_with(what, &packed_and_more, "after its end", &Limits::default()).await;
        let packed_twice = [gzip(&bundle(&[])), gzip(&more)].concat();
        refused_with(what, &packed_twice, "goes on after its end", &Limits::default()).await;
    }
    // As tar(1) fills its last record.
    taken("zeros", &[bundle(&[]), vec![0; 9 << 10]].concat()).await;
    taken("packed zeros", &gzip(&[bundle(&[]), vec![0; 9 << 10]].concat())).await;
}

#[tokio::test]
async fn a_bundle_is_a_configuration_and_a_root() {
    let root = folder("rootfs/");
    for (archive, words) in [
        (ended(&root), "there is no file `config.json`"),
        (ended(&file("config.json", b"{}")), "there is no folder `rootfs`"),
        (ended(&[file("config.json", b"[]"), root.clone()].concat()), "is not JSON"),
        (ended(&[file("config.json", &b"[".repeat(100_000)), root.clone()].concat()), "is not JSON"),
        (ended(&[file("config.json", &vec![b' '; (1 << 20) + 1]), root.clone()].concat()), "longer than 1 MiB"),
        (ended(&[folder("config.json/"), root].concat()), "at the top of a bundle"),
        (ended(b""), "there is no folder `rootfs`"),
    ] {
        refused(words, &archive, words).await;
    }
}

/// A bundle that is whole stays until a better one is.
#[tokio::test]
async fn what_was_there_stays_when_the_new_one_is_refused() {
    let place = taken("the first", &bundle(&[])).await;
    let worse = bundle(&[file("rootfs/new", b""), file("../x", b"")]);
    assert!(matches!(place.unpack_with(&worse, &Limits::default()).await, Err(Error::Refused(_))));
    place.check("refused", true);
    assert!(!place.at("bundles/b/rootfs/new").exists());
    assert_eq!(fs::read_to_string(place.at("bundles/b/rootfs/version")).unwrap(), "1");
}
