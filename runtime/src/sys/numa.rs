//! The memory policy of a process (`set_mempolicy(2)`), which no library we use wraps.

use std::io;

/// How many nodes a mask has room for: the kernel's `MAX_NUMNODES` is no larger anywhere.
const NODES: usize = 1024;
const WORD: usize = libc::c_ulong::BITS as usize;

/// Sets the policy of the calling thread to `mode` (with its flags) over these nodes, each below 1024.
///
/// # Errors
/// `ENOSYS` in a kernel without NUMA, `EINVAL` for a node above 1023, for nodes of which none has memory or is allowed by
/// the cpuset, and for a mode or flag that the kernel does not know.
pub fn set_policy(mode: u16, nodes: &[u32]) -> io::Result<()> {
    let mask = mask(nodes).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel reads one bit less than it is told, and takes 0 for the largest number (get_nodes in mm/mempolicy.c).
    let bits = if nodes.is_empty() { 1 } else { NODES + 1 };
    // SAFETY: set_mempolicy reads `bits - 1` bits at the pointer: the mask has NODES of them, in words of the
    // kernel's `unsigned long`, and outlives the call.
    match unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::c_long::from(mode), mask.as_ptr(), bits) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn mask(nodes: &[u32]) -> Option<[libc::c_ulong; NODES / WORD]> {
    let mut mask = [0; NODES / WORD];
    for node in nodes {
        let node = usize::try_from(*node).ok()?;
        *mask.get_mut(node / WORD)? |= 1 << (node % WORD);
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_become_bits() {
        let mask = mask(&[0, 33, 1023]).unwrap();
        assert_eq!(mask.iter().map(|word| word.count_ones()).sum::<u32>(), 3);
        assert_eq!((mask[0] & 1, mask[33 / WORD] >> (33 % WORD) & 1, mask[NODES / WORD - 1] >> (WORD - 1)), (1, 1, 1));
        assert!(super::mask(&[1024]).is_none());
    }
}
