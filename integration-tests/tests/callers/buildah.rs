//! buildah: the steps of a build run in containers.

use std::fs;

use skiff_integration_tests::command::{Invocation, Outcome};
use skiff_integration_tests::image::NAME as IMAGE;
use skiff_lanes::runs;

use crate::house::{House, over_each};

struct Buildah {
    house: House,
}

fn with_buildah(test: impl Fn(&Buildah)) {
    over_each("buildah", |house| {
        let buildah = Buildah { house };
        buildah.run(&["pull", "--quiet", &format!("oci-archive:{}", buildah.house.image.archive.display())]).ok();
        test(&buildah);
        buildah.house.assert_gone();
    });
}

impl Buildah {
    fn run(&self, words: &[&str]) -> Outcome {
        let house = &self.house;
        let (root, run) = (house.word("root"), house.word("run"));
        let mut all = vec!["--root", &*root, "--runroot", &*run, "--storage-driver", "vfs"];
        all.extend(words);
        Invocation::new("buildah", &all)
            .env("CONTAINERS_CONF", &house.containers_conf().to_string_lossy())
            .env("BUILDAH_RUNTIME", &house.program())
            .env("TMPDIR", &house.path().to_string_lossy())
            .env("SKIFF_TEST_ID", &house.id)
            .run()
    }

    fn step(&self, container: &str, options: &[&str], script: &str) -> Outcome {
        let words = ["run", "--isolation", "oci", "--network", "none"];
        self.run(&[&words[..], options, &[container, "--", "sh", "-c", script]].concat())
    }
}

#[runs(host)]
fn steps_of_a_build() {
    with_buildah(|buildah| {
        let container = buildah.run(&["from", "--pull-never", IMAGE]).ok();
        let container = container.trim();
        assert_eq!(buildah.step(container, &[], "echo made >/file; cat /proc/1/comm").ok(), "cat\n");
        let outcome = buildah.step(container, &["--user", "7"], "cat /file; id -u; exit 9").exits(9);
        assert_eq!(outcome.stdout, "made\n7\n");
        assert_eq!(buildah.step(container, &["--tty"], "tty").ok().trim(), "/dev/pts/0");
        let folder = format!("{}:/in:ro", buildah.house.path().display());
        let script = "ls /in/image.tar; touch /in/x 2>/dev/null || echo read-only";
        assert_eq!(buildah.step(container, &["--volume", &folder], script).ok(), "/in/image.tar\nread-only\n");
        buildah.run(&["rm", container]).ok();
    });
}

#[runs(host)]
fn a_build_from_a_file() {
    with_buildah(|buildah| {
        let context = buildah.house.path().join("context");
        fs::create_dir(&context).unwrap();
        let steps = format!("FROM {IMAGE}\nRUN echo built >/file\nUSER 8\nRUN test $(id -u) = 8 && cat /file\n");
        fs::write(context.join("Containerfile"), steps).unwrap();
        let words = ["build", "--isolation", "oci", "--network", "none", "--pull-never", "--layers=false"];
        let rest = ["--tag", "made", &*context.to_string_lossy()];
        let outcome = buildah.run(&[&words[..], &rest].concat());
        assert!(outcome.succeeded() && outcome.stdout.contains("built"), "{outcome}");
        fs::write(context.join("Containerfile"), format!("FROM {IMAGE}\nRUN exit 5\n")).unwrap();
        buildah.run(&[&words[..], &rest].concat()).fails_with(&["exit status 5"]);
    });
}
