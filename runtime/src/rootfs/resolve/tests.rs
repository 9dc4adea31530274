//! The walk inside a root, on a temporary directory: no privilege is needed.

#![allow(clippy::disallowed_methods)]

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use super::*;

fn root() -> (tempfile::TempDir, OwnedFd) {
    let folder = tempfile::tempdir().unwrap();
    let fd = rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    (folder, fd)
}

#[test]
fn links_stay_inside() {
    let (folder, fd) = root();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    symlink("/etc", folder.path().join("absolute")).unwrap();
    symlink("../../../../etc", folder.path().join("upwards")).unwrap();
    for name in ["absolute", "/absolute", "upwards", "//etc/../etc"] {
        let found = in_root(fd.as_fd(), Path::new(name), Links::Follow).unwrap();
        let wanted = rustix::fs::stat(folder.path().join("etc")).unwrap();
        assert_eq!(rustix::fs::fstat(&found).unwrap().st_ino, wanted.st_ino, "{name}");
    }
    assert_eq!(in_root(fd.as_fd(), Path::new("absolute"), Links::Refuse).unwrap_err(), Errno::LOOP);
    let link = in_root(fd.as_fd(), Path::new("absolute"), Links::KeepLast).unwrap();
    assert_eq!(FileType::from_raw_mode(rustix::fs::fstat(&link).unwrap().st_mode), FileType::Symlink);
}

#[test]
fn missing_directories_and_files_are_made() {
    let (folder, fd) = root();
    let made = create_in_root(fd.as_fd(), Path::new("/a/b/c"), Links::Follow, Leaf::Directory(0o700)).unwrap();
    assert!(is_directory(&made).unwrap());
    create_in_root(fd.as_fd(), Path::new("x/y"), Links::Follow, Leaf::File(0o644)).unwrap();
    assert!(folder.path().join("x/y").is_file());
    let root_itself = create_in_root(fd.as_fd(), Path::new("/"), Links::Follow, Leaf::Directory(0o755)).unwrap();
    assert_eq!(rustix::fs::fstat(&root_itself).unwrap().st_ino, rustix::fs::fstat(&fd).unwrap().st_ino);
}

#[test]
fn dangling_links_are_followed_inside() {
    let (folder, fd) = root();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    symlink("../run/systemd/resolv.conf", folder.path().join("etc/resolv.conf")).unwrap();
    symlink("/nowhere/at/all", folder.path().join("var")).unwrap();
    symlink("loop", folder.path().join("loop")).unwrap();
    create_in_root(fd.as_fd(), Path::new("etc/resolv.conf"), Links::Follow, Leaf::File(0o644)).unwrap();
    assert!(folder.path().join("run/systemd/resolv.conf").is_file());
    create_in_root(fd.as_fd(), Path::new("var/log"), Links::Follow, Leaf::Directory(0o755)).unwrap();
    assert!(folder.path().join("nowhere/at/all/log").is_dir());
    let refused = create_in_root(fd.as_fd(), Path::new("loop/x"), Links::Follow, Leaf::Directory(0o755));
    assert_eq!(refused.unwrap_err(), Errno::LOOP);
    std::fs::remove_dir_all(folder.path().join("nowhere")).unwrap();
    let refused = create_in_root(fd.as_fd(), Path::new("var/log"), Links::Refuse, Leaf::Directory(0o755));
    assert_eq!(refused.unwrap_err(), Errno::LOOP);
}

#[test]
fn parents_and_names() {
    let (folder, fd) = root();
    std::fs::create_dir_all(folder.path().join("dev/bus")).unwrap();
    let (parent, name) = parent_in_root(fd.as_fd(), Path::new("/dev/bus/usb")).unwrap();
    assert_eq!((is_directory(&parent).unwrap(), name.as_os_str()), (true, OsStr::new("usb")));
    assert_eq!(parent_in_root(fd.as_fd(), Path::new("/")).unwrap_err(), Errno::INVAL);
    assert_eq!(parent_in_root(fd.as_fd(), Path::new("/no/such")).unwrap_err(), Errno::NOENT);
}

#[test]
fn paths_are_cleaned_by_text() {
    let check = |path, wanted| assert_eq!(clean(Path::new(path)), Path::new(wanted), "{path}");
    check("/a//b/./c/", "/a/b/c");
    check("a/b", "/a/b");
    check("../../x", "/x");
    check("/a/../../b", "/b");
    check("", "/");
}

#[test]
fn the_walk_agrees_with_the_kernel() {
    let (folder, fd) = root();
    std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (target, name) in [
        ("/a", "absolute"),
        ("../../../a/b", "upwards"),
        ("b/../../file", "a/around"),
        ("loop", "loop"),
        ("gone", "lost"),
    ] {
        symlink(target, folder.path().join(name)).unwrap();
    }
    let (longest, too_long) = (format!("{}/file", "./".repeat(2045)), format!("{}a/file", "./".repeat(2045)));
    let paths = [
        &longest,
        &too_long,
        ".",
        "/",
        "a",
        "a/b/..",
        "../../a",
        "absolute/b",
        "upwards",
        "upwards/../around",
        "a/around",
        "loop",
        "lost",
        "file",
        "file/x",
        "file/..",
        "nothing",
        "absolute",
        "a/../absolute/b/../../upwards",
    ];
    for path in paths {
        for links in [Links::Follow, Links::KeepLast, Links::Refuse] {
            let inode = |found: Result<OwnedFd, Errno>| found.map(|fd| rustix::fs::fstat(&fd).unwrap().st_ino);
            let kernel = inode(in_root(fd.as_fd(), Path::new(path), links));
            // The kernel says ENOTDIR for `file/..` where we only find the way back; both stay inside.
            if path != "file/.." {
                assert_eq!(inode(walk::walk(fd.as_fd(), Path::new(path), links)), kernel, "{path} {links:?}");
            }
        }
    }
}
