//! Looks around inside a container of each contender and names the differences: only equal work may be compared.

use crate::bundle::LOOK;
use crate::contender::Contender;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What runs inside.
pub(crate) const PROGRAM: [&str; 2] = ["/bin/sh", "/look.sh"];

/// One fact per line. Mounts are told by target, options and type; ids and sources differ by nature.
pub(crate) const SCRIPT: &str = r#"
echo "mounts $(cat /proc/self/mountinfo | grep -c .)"
cat /proc/self/mountinfo | while read -r _ _ _ _ target options rest; do
    rest="x $rest" # the optional fields before the dash may be none
    rest=${rest##* - }
    echo "mount $target $options ${rest%% *}"
done
echo "hostname $(hostname)"
echo "pid $$"
echo "session $(cut -d' ' -f6 /proc/$$/stat)"
echo "user $(id)"
echo "cwd $(pwd)"
echo "umask $(umask)"
echo "files $(ulimit -Sn) $(ulimit -Hn)"
echo "cgroup $(grep ^0: /proc/self/cgroup)"
echo "loopback $(cat /sys/class/net/lo/flags)"
echo "descriptors $(ls /proc/self/fd | tr '\n' ' ')"
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\t' ' '
for name in cgroup ipc mnt net pid user uts; do echo "namespace $(readlink /proc/self/ns/$name)"; done
for path in /dev/*; do echo "device $(stat -c '%N %A %t:%T %u:%g' $path)"; done
touch /new 2>/dev/null && echo "root is writable"
true
"#;

/// A line for each fact that differs from what the container of the floor (or of the first contender) says. An error
/// when a container says nothing: a program that does nothing would win every benchmark.
pub(crate) fn differences(work: &Path, contenders: &[Contender]) -> Result<Vec<String>> {
    let mut views = Vec::new();
    for contender in contenders {
        views.push((contender.name, view(work, contender)?));
    }
    let floor = contenders.iter().position(|contender| !contender.has_state()).unwrap_or(0);
    let Some((model, facts)) = views.get(floor) else { bail!("BENCH_CONTENDERS names no contender") };
    Ok(views.iter().flat_map(|(name, other)| compare((model, facts), (name, other))).collect())
}

fn view(work: &Path, contender: &Contender) -> Result<Vec<String>> {
    let mut command = Command::new(&contender.binary);
    command.args(contender.run(work, LOOK, &PROGRAM)).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("start `{}`", contender.binary.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` cannot look around: {}: {}", contender.name, output.status, said.trim());
    }
    let text = String::from_utf8(output.stdout).context("look.sh wrote something that is not UTF-8")?;
    if !text.lines().any(|line| line == "pid 1") {
        bail!("`{}` exits 0 but its container did not run, or not as pid 1", contender.name);
    }
    Ok(text.lines().map(name_namespace).collect())
}

/// Namespace numbers are new each time; what counts is whether the container has one of its own.
fn name_namespace(line: &str) -> String {
    let Some(link) = line.strip_prefix("namespace ") else { return line.to_owned() };
    let kind = link.split(':').next().unwrap_or(link);
    match fs::read_link(format!("/proc/self/ns/{kind}")) {
        Ok(own) if own.as_os_str() == link => format!("namespace {kind} is the host's"),
        Ok(_) => format!("namespace {kind} is new"),
        Err(_) => line.to_owned(),
    }
}

fn compare(model: (&str, &[String]), other: (&str, &[String])) -> Vec<String> {
    let only = |these: &[String], those: &[String], name: &str| -> Vec<String> {
        these.iter().filter(|fact| !those.contains(fact)).map(|fact| format!("only {name}: {fact}")).collect()
    };
    let mut lines = only(other.1, model.1, &format!("{}, not {}", other.0, model.0));
    lines.extend(only(model.1, other.1, &format!("{}, not {}", model.0, other.0)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_both_sides() {
        let facts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let lines = compare(("a", &facts(&["pid 1", "cwd /"])), ("b", &facts(&["pid 2", "cwd /"])));
        assert_eq!(lines, ["only b, not a: pid 2", "only a, not b: pid 1"]);
    }
}
