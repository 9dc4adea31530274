//! What is kept on the device: what goes, what stays, and what a power cut or a full disk leaves of it.

use super::harness::{Fleet, Follower, bundle, index};
use skiff_supervisor::digest;
use skiff_supervisor::fleet::library::Library;
use skiff_supervisor::fleet::verify::Memory;
use skiff_supervisor::fleet::{News, Order};
use std::fs;

#[tokio::test]
async fn what_is_not_needed_any_more_goes_and_the_rest_stays() {
    let fleet = Fleet::new();
    let follower = Follower::new(&fleet);
    let mut following = Some(follower.start());
    let mut digests = Vec::new();
    for (serial, version) in [(1, "1.0"), (2, "2.0"), (3, "3.0")] {
        fleet.edition(serial, version);
        let following = following.as_mut().unwrap();
        following.order(Order::Sync).await;
        // The first look may come before the first edition.
        let accepted = loop {
            match following.next().await {
                News::Accepted(accepted) => break accepted,
                News::Unreachable { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(accepted.serial, serial);
        digests.push(following.staged().await.id.digest);
    }
    let count = |name: &str| fs::read_dir(follower.settings.folder.join(name)).unwrap().count();
    assert_eq!((count("releases"), count("bundles")), (3, 3));
    let following = following.take().unwrap();
    following.order(Order::Keep(vec![digests[1].clone()])).await;
    following.order(Order::Sync).await;
    let shelf = Library::open(&follower.settings).unwrap().shelf();
    let mut following = following;
    following.next().await;
    assert_eq!((count("releases"), count("bundles")), (2, 2), "the one to keep and the one that is wanted");
    assert!(shelf.staged(&digests[0]).unwrap().is_none());
    assert!(shelf.staged(&digests[1]).unwrap().is_some() && shelf.staged(&digests[2]).unwrap().is_some());
}

#[tokio::test]
async fn the_library_loads_whatever_power_left_of_it() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    fleet.edition(2, "2.0");
    following.order(Order::Sync).await;
    following.settled().await;
    following.end().await;
    let (index, memory) = (follower.settings.folder.join("index.json"), follower.settings.folder.join("memory.json"));
    let open = || {
        let library = Library::open(&follower.settings).unwrap();
        let serial = library.believed().map(|believed| believed.judged.fleet.metadata.serial);
        (serial, library.memory().serial)
    };
    assert_eq!(open(), (Some(2), 2));
    for (path, wanted) in [(&index, (Some(1), 2)), (&memory, (Some(2), 2))] {
        let whole = fs::read(path).unwrap();
        for length in (0..whole.len()).step_by(7) {
            fs::write(path, &whole[..length]).unwrap();
            assert_eq!(open(), wanted, "{} at {length}", path.display());
        }
        for at in (0..whole.len()).step_by(11) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(path, flipped).unwrap();
            assert_eq!(open(), wanted, "{} flipped at {at}", path.display());
        }
        fs::write(path, whole).unwrap();
    }
    // Whatever is lost, the serial that was seen is not: not with the memory, and not with the index.
    fs::remove_file(&memory).unwrap();
    fs::remove_file(follower.settings.folder.join("memory.json.previous")).unwrap();
    assert_eq!(open(), (Some(2), 2));
    // Leftovers of a skiffd that was killed.
    fs::create_dir_all(follower.settings.folder.join("bundles/.sha256-x.new/rootfs/deep")).unwrap();
    fs::write(follower.settings.folder.join("archives/sha256-x"), "half").unwrap();
    assert_eq!(open(), (Some(2), 2));
    assert!(!follower.settings.folder.join("bundles/.sha256-x.new").exists());
    assert!(!follower.settings.folder.join("archives/sha256-x").exists());
    // A bundle that lost its configuration is fetched again.
    let bundles = follower.settings.folder.join("bundles");
    for bundle in fs::read_dir(&bundles).unwrap() {
        fs::remove_file(bundle.unwrap().path().join("config.json")).unwrap();
    }
    let mut following = follower.start();
    assert!(following.accepted().await.remembered);
    assert_eq!(following.next().await, News::Unchanged);
    assert_eq!(following.staged().await.id.version, "2.0");
}

#[tokio::test]
async fn a_memory_that_went_ahead_of_its_index_refuses_the_older_one() {
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    let mut following = follower.start();
    following.settled().await;
    following.end().await;
    // Power failed between the two: the second edition is remembered, the first is what there is.
    let memory = Memory { fleet: Some("kiosks".into()), serial: 3, digest: None, signed: Some(9) };
    skiff_supervisor::store::publish(&follower.settings.folder.join("memory.json"), &memory).unwrap();
    let mut following = follower.start();
    assert_eq!(following.accepted().await.serial, 1);
    following.staged().await;
    assert_eq!(following.next().await, News::Unchanged);
    fleet.edition(2, "2.0");
    following.order(Order::Sync).await;
    assert_eq!(following.failed().await.0, "rollback");
    fleet.edition(3, "2.0");
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 3);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to mount a small disk");
        return;
    }
    let fleet = Fleet::new();
    fleet.edition(1, "1.0");
    let follower = Follower::new(&fleet);
    fs::create_dir(&follower.settings.folder).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &follower.settings.folder, "tmpfs", flags, c"size=256k").unwrap();
    let mut following = follower.start();
    following.settled().await;
    let noise: Vec<u8> = (0..40_000_u32)
        .flat_map(|number| digest::of(&number.to_be_bytes()).as_str().as_bytes()[7..23].to_vec())
        .collect();
    let large = fleet.release("2.0", &bundle(&String::from_utf8(noise).unwrap()));
    fleet.publish(&index(2, &large, "2.0"));
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 2);
    let (reason, text) = following.failed().await;
    assert_eq!(reason, "disk", "{text}");
    fleet.edition(3, "3.0");
    following.order(Order::Sync).await;
    assert_eq!(following.accepted().await.serial, 3);
    assert_eq!(following.staged().await.id.version, "3.0");
    following.end().await;
    rustix::mount::unmount(&follower.settings.folder, rustix::mount::UnmountFlags::DETACH).unwrap();
}
