//! What sets a cgroup file back: its old text, in the form in which the file is written.

/// The lines, one write(2) each, that undo the writing of `value` to `file`, which said `before`. `None` if that cannot
/// be told.
pub(super) fn lines(file: &str, value: &str, before: &str) -> Option<Vec<String>> {
    if file == "memory.oom_control" {
        let disabled = before.lines().find_map(|line| line.strip_prefix("oom_kill_disable "))?;
        return Some(vec![disabled.to_owned()]);
    }
    if is_keyed(file, value) {
        return value.lines().map(|line| keyed(file, line, before)).collect();
    }
    let default = before.lines().find(|line| line.starts_with("default "));
    Some(match (default, before.trim()) {
        // Weights of `io`: the default goes by the same word with which it is shown.
        (Some(line), _) => vec![line.to_owned()],
        // A file that was empty is emptied by an empty line; nothing at all would be no write.
        (None, "") => vec!["\n".to_owned()],
        (None, text) => text.lines().map(str::to_owned).collect(),
    })
}

/// Files that have a line for each device take a line that begins with one. `cpu.max` is the only other limit of two
/// words.
fn is_keyed(file: &str, value: &str) -> bool {
    file != "cpu.max" && !value.starts_with("default ") && value.trim().contains(' ')
}

/// The line of one key as it was, or what takes it out.
fn keyed(file: &str, line: &str, before: &str) -> Option<String> {
    let key = line.split_whitespace().next()?;
    let old = before.lines().find(|old| old.split_whitespace().next() == Some(key));
    if let Some(old) = old {
        return Some(old.to_owned());
    }
    let nothing = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" => "default",
        "rdma.max" => "hca_handle=max hca_object=max",
        _ if file.starts_with("blkio.") => "0",
        _ => return None,
    };
    Some(format!("{key} {nothing}"))
}
