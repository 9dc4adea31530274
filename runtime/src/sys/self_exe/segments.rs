//! Decides how each part of the running program is mapped again: a pure function from program headers to pieces.

/// One program header of an ELF file (elf(5)), in the host's word size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: usize,
    pub(super) in_file: usize,
    pub(super) in_memory: usize,
}

/// One stretch of whole pages that is backed by the binary now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Never written: the same bytes come from the image at `offset`.
    File { start: usize, length: usize, offset: u64, flags: u32 },
    /// Written since the start (data, relocations): its bytes move to anonymous memory. `sealed` is the part that
    /// the loader made read-only after relocating it (RELRO).
    Memory { start: usize, length: usize, sealed: bool },
}

const PT_LOAD: u32 = libc::PT_LOAD;
const PT_PHDR: u32 = libc::PT_PHDR;
const PT_GNU_RELRO: u32 = libc::PT_GNU_RELRO;
/// `PF_W` of elf(5).
const WRITABLE: u32 = 2;

/// The pieces of a program whose headers lie at address `table`, on a machine with pages of `page` bytes. `None`
/// when the headers do not tell where the program was loaded.
pub(super) fn plan(headers: &[Header], table: usize, page: usize) -> Option<Vec<Piece>> {
    let bias = bias(headers, table)?;
    let down = |address: usize| address & !(page - 1);
    let up = |address: usize| down(address + page - 1);
    // The loader seals whole pages only, rounding both ends down (glibc's _dl_protect_relro, musl's reloc_all).
    let relro = headers.iter().find(|header| header.kind == PT_GNU_RELRO).map_or((0, 0), |header| {
        let start = bias.wrapping_add(header.address);
        (down(start), down(start + header.in_memory))
    });
    let mut pieces = Vec::new();
    for header in headers.iter().filter(|header| header.kind == PT_LOAD && header.in_file > 0) {
        let first = bias.wrapping_add(header.address);
        // Pages after the last byte in the file (.bss) are anonymous already.
        let (start, end) = (down(first), up(first + header.in_file));
        if header.flags & WRITABLE == 0 {
            let offset = header.offset.checked_sub((first - start) as u64)?;
            pieces.push(Piece::File { start, length: end - start, offset, flags: header.flags });
            continue;
        }
        let sealed = (relro.0.clamp(start, end), relro.1.clamp(start, end));
        let (sealed_start, sealed_end) = if sealed.0 < sealed.1 { sealed } else { (start, start) };
        for (from, to, sealed) in
            [(start, sealed_start, false), (sealed_start, sealed_end, true), (sealed_end, end, false)]
        {
            if from < to {
                pieces.push(Piece::Memory { start: from, length: to - from, sealed });
            }
        }
    }
    (!pieces.is_empty()).then_some(pieces)
}

/// What was added to the addresses of the file when it was loaded; 0 for a program at a fixed place.
fn bias(headers: &[Header], table: usize) -> Option<usize> {
    if let Some(own) = headers.iter().find(|header| header.kind == PT_PHDR) {
        return Some(table.wrapping_sub(own.address));
    }
    // A static program without PT_PHDR: the table follows the ELF header in the segment that holds the file's start.
    let first = headers.iter().find(|header| header.kind == PT_LOAD && header.offset == 0)?;
    Some(table.wrapping_sub(ELF_HEADER_SIZE).wrapping_sub(first.address))
}

const ELF_HEADER_SIZE: usize = if cfg!(target_pointer_width = "64") { 64 } else { 52 };

#[cfg(test)]
mod tests {
    use super::*;

    const BIAS: usize = 0x5000_0000;

    fn load(flags: u32, offset: u64, address: usize, in_file: usize, in_memory: usize) -> Header {
        Header { kind: PT_LOAD, flags, offset, address, in_file, in_memory }
    }

    fn of(kind: u32, address: usize, size: usize) -> Header {
        Header { kind, flags: 4, offset: address as u64, address, in_file: size, in_memory: size }
    }

    #[test]
    fn a_position_independent_program_is_split_at_relro_and_bss() {
        let headers = [
            of(PT_PHDR, 0x40, 0x2a0),
            load(4, 0, 0, 0x1234, 0x1234),
            load(5, 0x1240, 0x2240, 0x3000, 0x3000),
            load(6, 0x4800, 0x6800, 0x2a00, 0x9000),
            of(PT_GNU_RELRO, 0x6800, 0x1800),
        ];
        let expected = vec![
            Piece::File { start: BIAS, length: 0x2000, offset: 0, flags: 4 },
            Piece::File { start: BIAS + 0x2000, length: 0x4000, offset: 0x1000, flags: 5 },
            Piece::Memory { start: BIAS + 0x6000, length: 0x2000, sealed: true },
            Piece::Memory { start: BIAS + 0x8000, length: 0x2000, sealed: false },
        ];
        assert_eq!(plan(&headers, BIAS + 0x40, 0x1000), Some(expected));
    }

    #[test]
    fn a_fixed_program_without_its_own_header_starts_at_the_elf_header() {
        let headers = [load(5, 0, 0x40_0000, 0x800, 0x800), load(6, 0x1000, 0x40_2000, 0x10, 0x4000)];
        let expected = vec![
            Piece::File { start: 0x40_0000, length: 0x1000, offset: 0, flags: 5 },
            Piece::Memory { start: 0x40_2000, length: 0x1000, sealed: false },
        ];
        assert_eq!(plan(&headers, 0x40_0000 + ELF_HEADER_SIZE, 0x1000), Some(expected));
    }

    #[test]
    fn relro_that_ends_inside_a_page_leaves_that_page_writable() {
        let headers = [of(PT_PHDR, 0x40, 0x100), load(6, 0, 0, 0x3000, 0x3000), of(PT_GNU_RELRO, 0x0, 0x1fff)];
        let expected = vec![
            Piece::Memory { start: BIAS, length: 0x1000, sealed: true },
            Piece::Memory { start: BIAS + 0x1000, length: 0x2000, sealed: false },
        ];
        assert_eq!(plan(&headers, BIAS + 0x40, 0x1000), Some(expected));
    }

    #[test]
    fn headers_that_do_not_say_where_they_are_give_no_plan() {
        assert_eq!(plan(&[load(5, 0x1000, 0x1000, 0x10, 0x10)], 0x1040, 0x1000), None);
        assert_eq!(plan(&[of(PT_PHDR, 0x40, 0x100)], 0x1040, 0x1000), None);
    }
}
