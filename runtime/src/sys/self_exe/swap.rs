//! Puts an image in the place of the running binary: in place by mapping it again, or by executing it.

use std::ffi::{CString, OsString, c_char, c_void};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::image::last_errno;
use super::open_read;
use super::segments::{Header, Piece, plan};

/// Maps every segment of the program again, the unwritten ones from `image`, and tells the kernel that `image` is
/// the executable. After a failure the program runs on unharmed, but its link may still be the old one.
pub(super) fn in_place(image: &OwnedFd) -> Result<(), Errno> {
    let (headers, table) = own_headers()?;
    // SAFETY: getauxval(3) only reads the auxiliary vector.
    let page = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    if !page.is_power_of_two() {
        return Err(Errno::NOEXEC);
    }
    let pieces = plan(&headers, table, page).ok_or(Errno::NOEXEC)?;
    for piece in &pieces {
        map_again(piece, image)?;
    }
    match set_executable(image) {
        // Without CAP_SYS_RESOURCE in the first user name space the newer form asks for less.
        Err(Errno::PERM) => set_memory_map(image),
        done => done,
    }
}

/// The program headers that the kernel gave us, and their address.
fn own_headers() -> Result<(Vec<Header>, usize), Errno> {
    #[cfg(target_pointer_width = "32")]
    type Phdr = libc::Elf32_Phdr;
    #[cfg(target_pointer_width = "64")]
    type Phdr = libc::Elf64_Phdr;
    // SAFETY: getauxval(3) only reads the auxiliary vector.
    let (table, count, size) =
        unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM), libc::getauxval(libc::AT_PHENT)) };
    let (table, count) = (table as usize, count as usize);
    if table == 0 || count == 0 || size as usize != size_of::<Phdr>() {
        return Err(Errno::NOEXEC);
    }
    // SAFETY: the kernel's AT_PHDR and AT_PHNUM describe `count` headers of the size checked above, in a read-only
    // segment of this program, which stays mapped; alignment is the ELF format's.
    let raw = unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance::<Phdr>(table), count) };
    let headers = raw
        .iter()
        .map(|header| Header {
            kind: header.p_type,
            flags: header.p_flags,
            #[allow(clippy::useless_conversion)] // 32 bits wide on 32-bit machines
            offset: header.p_offset.into(),
            address: header.p_vaddr as usize,
            in_file: header.p_filesz as usize,
            in_memory: header.p_memsz as usize,
        })
        .collect();
    Ok((headers, table))
}

fn map_again(piece: &Piece, image: &OwnedFd) -> Result<(), Errno> {
    match *piece {
        Piece::File { start, length, offset, flags } => {
            let mut prot = ProtFlags::empty();
            // PF_X, PF_W and PF_R of elf(5) are not PROT_*'s values; PF_W never comes here.
            prot.set(ProtFlags::EXEC, flags & 1 != 0);
            prot.set(ProtFlags::READ, flags & 4 != 0);
            let place = ptr::with_exposed_provenance_mut::<c_void>(start);
            // SAFETY: `image` holds the same bytes as the file mapped at these pages, the segment is not writable so
            // no page differs from the file, and the kernel replaces the mapping in one step: code running from these
            // very pages and references into them see no change.
            unsafe { rustix::mm::mmap(place, length, prot, MapFlags::PRIVATE | MapFlags::FIXED, image, offset)? };
            Ok(())
        }
        Piece::Memory { start, length, sealed } => move_to_memory(start, length, sealed),
    }
}

/// Replaces written pages by anonymous ones with the same bytes and protection.
fn move_to_memory(start: usize, length: usize, sealed: bool) -> Result<(), Errno> {
    let place = ptr::with_exposed_provenance_mut::<c_void>(start);
    let both = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choosing touches nothing that exists.
    let copy =
        unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), length, both, MapFlags::PRIVATE | MapFlags::POPULATE)? };
    // SAFETY: `place` is `length` readable bytes of this program's data, `copy` as many fresh writable ones. There is
    // one thread and no signal handler that writes statics, and between the copy and the move nothing below allocates
    // or writes a static (rustix makes the calls without libc, so not even errno), so no write can be lost. mremap(2)
    // replaces the pages in one step. On failure the copy leaks, which is harmless.
    unsafe {
        ptr::copy_nonoverlapping(place.cast::<u8>(), copy.cast::<u8>(), length);
        if sealed {
            rustix::mm::mprotect(copy, length, MprotectFlags::READ)?;
        }
        rustix::mm::mremap_fixed(copy, length, length, MremapFlags::MAYMOVE, place)?;
    }
    Ok(())
}

/// `PR_SET_MM_EXE_FILE` of prctl(2): needs `CAP_SYS_RESOURCE`.
fn set_executable(image: &OwnedFd) -> Result<(), Errno> {
    let descriptor = image.as_fd().as_raw_fd() as libc::c_ulong;
    // SAFETY: this form of prctl(2) takes a descriptor number and no pointer.
    let done = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_EXE_FILE as libc::c_ulong, descriptor, 0, 0) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// `struct prctl_mm_map` of <linux/prctl.h>. It has a pointer in it and no form for 32-bit programs: a 64-bit kernel finds
/// `exe_fd` of a 32-bit program in the place of `auxv_size`, without an `auxv`, and answers EINVAL. Then the program is
/// executed anew.
#[repr(C)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: *const u64,
    auxv_size: u32,
    exe_fd: u32,
    /// Where pointers have 4 bytes the kernel's structure has 4 at its end that mean nothing.
    #[cfg(target_pointer_width = "32")]
    padding: u32,
}

/// `PR_SET_MM_MAP` of prctl(2): needs `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN` in our own user name space, and a
/// kernel with CONFIG_CHECKPOINT_RESTORE. Every other field is set to what it is already.
fn set_memory_map(image: &OwnedFd) -> Result<(), Errno> {
    // One read: the kernel composes the line, which takes it longer than the rest of this function, at each.
    let mut line = [0; 1024];
    let length = rustix::io::read(open_read("/proc/self/stat")?, &mut line)?;
    let mut map = memory_map(&line[..length]).ok_or(Errno::INVAL)?;
    // SAFETY: brk(2) with address 0 changes nothing and answers the current end of the heap.
    map.brk = unsafe { libc::syscall(libc::SYS_brk, 0) } as usize as u64;
    map.exe_fd = image.as_fd().as_raw_fd() as u32;
    // SAFETY: the kernel reads `size` bytes of `map`, which outlives the call; an `auxv_size` of 0 says that the
    // null `auxv` is not to be read.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_MM,
            PR_SET_MM_MAP,
            &raw const map as libc::c_ulong,
            size_of::<MemoryMap>() as libc::c_ulong,
            0,
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

const PR_SET_MM_MAP: libc::c_ulong = 14;

/// The addresses in the line of `/proc/self/stat` (proc_pid_stat(5)); `brk` and `exe_fd` are not in it.
fn memory_map(stat: &[u8]) -> Option<MemoryMap> {
    // The name in parentheses may hold anything, so counting begins after the last one, with field 3.
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after_name + 1..]).ok()?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: 0,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: ptr::null(),
        auxv_size: 0,
        exe_fd: u32::MAX,
        #[cfg(target_pointer_width = "32")]
        padding: 0,
    })
}

/// Executes `image` with our arguments and environment; returns only the reason why not.
pub(super) fn execute(image: &OwnedFd) -> Errno {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let arguments: Vec<CString> =
        std::env::args_os().map(OsString::into_vec).filter_map(|bytes| CString::new(bytes).ok()).collect();
    let mut pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(ptr::null());
    // SAFETY: `pointers` is a null-terminated array of NUL-terminated strings that `arguments` keeps alive, `environ`
    // is the C library's own, and nothing in this program changes it. On success the call does not return.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image.as_fd().as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        );
    }
    last_errno()
}

/// Gives the process its name back: executing a descriptor names it after the descriptor's number.
pub(super) fn restore_name() {
    let name = std::env::args_os().next().map(OsString::into_vec).unwrap_or_default();
    let name: Vec<u8> = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    if let Ok(name) = CString::new(name) {
        // A name is a convenience for people who read `ps`; nothing depends on it.
        let _unimportant = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_behind_any_name() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let line = format!("7 (a) b (c) S {}\n", numbers.join(" "));
        let map = memory_map(line.as_bytes()).unwrap();
        assert_eq!(
            [map.start_code, map.end_code, map.start_stack, map.start_data, map.end_data, map.start_brk],
            [26, 27, 28, 45, 46, 47]
        );
        assert_eq!([map.arg_start, map.arg_end, map.env_start, map.env_end], [48, 49, 50, 51]);
        assert!(memory_map(b"7 (x) S 1 2").is_none());
    }

    #[test]
    fn the_map_is_the_kernels() {
        let pointer = size_of::<usize>();
        assert_eq!(std::mem::offset_of!(MemoryMap, auxv_size), 88 + pointer);
        assert_eq!(size_of::<MemoryMap>(), 104, "PR_SET_MM_MAP_SIZE on kernels of both widths");
    }
}
