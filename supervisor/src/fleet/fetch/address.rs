//! Where a request may go: redirects are resolved here, and checked. They never lead to another scheme nor, from an ordinary
//! address, to a link-local one, behind which clouds keep what is nobody's business.

use std::net::{IpAddr, Ipv6Addr};

/// The parts of an `http` or `https` address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) scheme: &'a str,
    /// Host and port.
    pub(super) authority: &'a str,
    /// With its slash; `/` where there is none.
    pub(super) path: &'a str,
}

/// Splits an address; nothing where it is another scheme's, or has a user in it, who has no place in an address.
pub(super) fn split(url: &str) -> Option<Address<'_>> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let plain = !authority.is_empty() && !authority.contains('@') && url.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then_some(Address { scheme, authority, path: if path.is_empty() { "/" } else { path } })
}

/// Where a `Location` leads from an address.
///
/// # Errors
/// In words, when it is not to be followed.
pub(super) fn redirect(from: &str, location: &str) -> Result<String, String> {
    let no = |why: &str| format!("the server sends to `{}`, {why}", location.escape_default());
    let base = split(from).ok_or_else(|| no("from an address that is none"))?;
    let location = location.split('#').next().unwrap_or_default();
    let to = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", base.scheme)
    } else if location.starts_with('/') {
        format!("{}://{}{location}", base.scheme, base.authority)
    } else {
        let path = base.path.split(['?', '#']).next().unwrap_or("/");
        let folder = &path[..=path.rfind('/').unwrap_or(0)];
        format!("{}://{}{folder}{location}", base.scheme, base.authority)
    };
    let target = split(&to).ok_or_else(|| no("which is no web address"))?;
    if target.scheme != base.scheme {
        return Err(no("by another scheme"));
    }
    if link_local_host(target.authority) && !link_local_host(base.authority) {
        return Err(no("a link-local address"));
    }
    Ok(to)
}

/// Whether an authority is a link-local address in figures.
pub(super) fn link_local_host(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.parse().is_ok_and(link_local)
}

/// 169.254.0.0/16 and fe80::/10, the former also as mapped into IPv6.
pub(super) fn link_local(address: IpAddr) -> bool {
    let of_six = |six: Ipv6Addr| six.segments()[0] & 0xffc0 == 0xfe80;
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.to_ipv4().map_or(of_six(six), |four| four.is_link_local() || of_six(six)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let from = "http://h.example:8080/a/b?c";
        for (location, to) in [
            ("http://other/x", "http://other/x"),
            ("//other/x", "http://other/x"),
            ("/x", "http://h.example:8080/x"),
            ("x", "http://h.example:8080/a/x"),
            ("?d", "http://h.example:8080/a/?d"),
            ("/x#part", "http://h.example:8080/x"),
        ] {
            assert_eq!(redirect(from, location).as_deref(), Ok(to), "{location}");
        }
        assert_eq!(redirect("http://h", "x").as_deref(), Ok("http://h/x"));
        for location in [
            "https://h/x",
            "file:///etc/shadow",
            "ftp://h/x",
            "gopher://h",
            "http://169.254.169.254/latest",
            "//169.254.169.254",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]:80/",
            "http://user:secret@h/",
            "http://",
            "http:///x",
            "/x y",
            "/x\r\nHost: z",
        ] {
            assert!(redirect(from, location).is_err(), "{location}");
        }
        assert!(redirect("https://h/x", "http://h/x").is_err());
        // A device that was told to look at a link-local address may stay there.
        assert!(redirect("http://169.254.0.1/x", "http://169.254.0.1/y").is_ok());
    }
}
