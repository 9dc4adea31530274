//! Becoming another user, for good.

use super::{Error, drop_bounding};
use rustix::process::{Gid, Uid};
use std::io;

/// Of a user that does not exist.
const NOBODY: (u32, u32) = (65534, 65534);

/// Becomes a user, or `nobody` where there is no such one. Returns what could not be done.
pub(super) fn become_user(name: &str) -> Result<Option<String>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Some(format!("user `{name}`: not root, so this user stays")));
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = look_up(&passwd, name);
    let (uid, gid) = found.unwrap_or(NOBODY);
    let fail = |errno: rustix::io::Errno| Error::User(name.to_owned(), errno.into());
    drop_bounding()?;
    rustix::thread::set_thread_groups(&[]).map_err(fail)?;
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(fail)?;
    let uid = Uid::from_raw(uid);
    // The last of root's own rights: what is left of capabilities goes with it.
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(fail)?;
    if rustix::thread::set_thread_uid(Uid::ROOT).is_ok() {
        return Err(Error::User(name.to_owned(), io::Error::other("the way back to root is open")));
    }
    Ok(found.is_none().then(|| format!("user `{name}`: there is none, so this is `nobody`")))
}

/// passwd(5)
fn look_up(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (uid != 0 && gid != 0).then_some((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::look_up;

    #[test]
    fn users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nskiff-fetch:x:970:971::/:/sbin/nologin\nodd:x:0:5::/:\nshort:x\n";
        assert_eq!(look_up(passwd, "skiff-fetch"), Some((970, 971)));
        for name in ["root", "odd", "short", "skiff", ""] {
            assert_eq!(look_up(passwd, name), None, "{name}");
        }
    }
}
