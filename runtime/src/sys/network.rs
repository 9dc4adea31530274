//! What is done to every new network namespace: its loopback device is brought up.

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::AsRawFd;

/// The part of `struct ifreq` that is used here (netdevice(7)), padded to its size on all architectures.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    padding: [u8; 22],
}

/// Brings `lo` up in the network namespace of the caller.
///
/// # Errors
/// The kernel's; `EPERM` without `CAP_NET_ADMIN` in the namespace.
pub fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = InterfaceRequest { name: [0; 16], flags: 0, padding: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // A new loopback device has no flags that a later driver could have set: these two are all it gets.
    request.flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the descriptor is open, and SIOCSIFFLAGS reads one `struct ifreq`, 40 bytes, from the address passed.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn request_is_as_large_as_the_kernels_or_larger() {
        // 40 bytes where pointers have 8, 32 where they have 4; the kernel reads its own size.
        assert_eq!(size_of::<super::InterfaceRequest>(), 40);
        assert!(size_of::<libc::ifreq>() <= 40);
        assert_eq!(std::mem::offset_of!(super::InterfaceRequest, flags), std::mem::offset_of!(libc::ifreq, ifr_ifru));
    }
}
