//! What `configs/seccomp/default.json` keeps from a program, asked by programs that make one system call and exit with its
//! error: of this machine's own kind, and of the 32-bit kind that most kernels run beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::{Bundle, copy_program};
use skiff_integration_tests::compare::each;
use skiff_integration_tests::kernel;
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_integration_tests::skip::skip;

const NO_FILTER: (Kind, &str) = (Kind::Reference, "is built without libseccomp, and loads none");

const EPERM: i32 = 1;
const EFAULT: i32 = 14;
const ENOSYS: i32 = 38;

const AF_UNIX: u32 = 1;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const SEQPACKET: u32 = 5;

/// Who makes the call.
#[derive(Clone, Copy, Debug)]
enum Machine {
    X86_64,
    I386,
}

/// An ELF file (elf(5)) that makes one call with three arguments and exits with the negative of what it gives: 0 to 133 are
/// errors, a descriptor becomes 256 less itself.
fn program(machine: Machine, number: u32, arguments: [u32; 3]) -> Vec<u8> {
    match machine {
        Machine::X86_64 => {
            let mut code = Vec::new();
            // mov to eax, edi, esi, edx; syscall
            for (opcode, value) in [(0xb8, number), (0xbf, arguments[0]), (0xbe, arguments[1]), (0xba, arguments[2])] {
                code.push(opcode);
                code.extend(value.to_le_bytes());
            }
            // syscall; neg eax; mov edi, eax; mov eax, 231 (exit_group); syscall
            code.extend([0x0f, 0x05, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 231, 0, 0, 0, 0x0f, 0x05]);
            elf64(&code)
        }
        Machine::I386 => {
            let mut code = Vec::new();
            // mov to eax, ebx, ecx, edx
            for (opcode, value) in [(0xb8, number), (0xbb, arguments[0]), (0xb9, arguments[1]), (0xba, arguments[2])] {
                code.push(opcode);
                code.extend(value.to_le_bytes());
            }
            // int 0x80; neg eax; mov ebx, eax; mov eax, 1 (exit); int 0x80
            code.extend([0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
            elf32(&code)
        }
    }
}

const BASE: u32 = 0x0804_8000;
const HEADERS_32: u32 = 52 + 32;
/// Where the words after the headers of a 32-bit program are, for calls that take a pointer.
const WORDS_32: u32 = BASE + HEADERS_32;

fn elf64(code: &[u8]) -> Vec<u8> {
    let base = u64::from(BASE);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    for word in [base + 120, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // One segment, loaded whole, to be read and executed.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let size = 120 + code.len() as u64;
    for word in [0, base, base, size, size, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// Between headers and code lie the three words of a `socket` for socketcall(2).
fn elf32(code: &[u8]) -> Vec<u8> {
    let words: Vec<u8> = [AF_ALG, SEQPACKET, 0].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let start = HEADERS_32 + words.len() as u32;
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0];
    for word in [BASE + start, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0]);
    let size = start + code.len() as u32;
    for word in [1, 0, BASE, BASE, size, size, 5, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(words);
    file.extend(code);
    file
}

/// What the call gives in a container with the default profile (or without), with the capability to administer if need be.
fn asked(runtime: &Runtime, machine: Machine, call: (u32, [u32; 3]), filtered: bool, administers: bool) -> i32 {
    let profile: Value = serde_json::from_str(include_str!("../../../../configs/seccomp/default.json")).unwrap();
    let bundle = Bundle::new().args(&["/bin/call"]).edit(|config| {
        if filtered {
            config["linux"]["seccomp"] = profile;
        }
        if administers {
            let set = json!(["CAP_SYS_ADMIN"]);
            config["process"]["capabilities"] = json!({"bounding": set, "effective": set, "permitted": set});
        }
    });
    let file = bundle.path().join("call");
    fs::write(&file, program(machine, call.0, call.1)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    copy_program(&file, &bundle.rootfs().join("bin/call"));
    let outcome = runtime.run(&bundle);
    outcome.code.unwrap_or_else(|| panic!("{outcome}"))
}

/// The machines whose programs run here.
fn machines(runtime: &Runtime) -> Vec<Machine> {
    if !cfg!(target_arch = "x86_64") {
        skip("its programs are of x86");
        return Vec::new();
    }
    // getpid(2) of the first process gives 1.
    let runs = asked(runtime, Machine::I386, (20, [0; 3]), false, false) == 255;
    if runs {
        return vec![Machine::X86_64, Machine::I386];
    }
    skip("this kernel runs no 32-bit programs");
    vec![Machine::X86_64]
}

/// socket(2) by its own number, with the bit of the x32 kind, and through socketcall(2).
#[test]
fn cve_2026_31431_no_socket_of_the_kernels_ciphers() {
    each(&[NO_FILTER], |runtime| {
        for machine in machines(runtime) {
            let socket = match machine {
                Machine::X86_64 => 41,
                Machine::I386 => 359,
            };
            let gives = |call| asked(runtime, machine, call, true, false);
            let of = |family| (socket, [family, SEQPACKET, 0]);
            assert!(gives(of(AF_UNIX)) > 200, "{machine:?}: an ordinary socket is there");
            for family in [AF_ALG, AF_VSOCK] {
                assert_eq!(gives(of(family)), EPERM, "{machine:?}: family {family}");
            }
            match machine {
                Machine::X86_64 => {
                    let x32 = gives((socket | 0x4000_0000, [AF_ALG, SEQPACKET, 0]));
                    assert!([EPERM, ENOSYS].contains(&x32), "x32: {x32}");
                }
                // SYS_SOCKET, net.h
                Machine::I386 => assert_eq!(gives((102, [1, WORDS_32, 0])), ENOSYS, "socketcall"),
            }
        }
    });
}

/// The mount calls that take a context apart, with the capability, and the way to that capability without it. Also CVE-2022-0492,
/// which takes a new user and cgroup namespace.
#[test]
fn cve_2022_0185_no_new_mount_calls_and_no_new_user_namespace() {
    const NEW_USER: u32 = 0x1000_0000;
    each(&[NO_FILTER], |runtime| {
        for machine in machines(runtime) {
            // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick: the same numbers everywhere.
            for number in 428..=433 {
                let call = (number, [0, 0, 0]);
                let seen = asked(runtime, machine, call, true, true);
                assert!([EPERM, ENOSYS].contains(&seen), "{machine:?}: call {number} gives {seen}");
            }
            if !kernel::lacks("fsopen") {
                assert_eq!(asked(runtime, machine, (430, [0; 3]), false, true), EFAULT, "fsopen by itself");
            }
            let unshare = match machine {
                Machine::X86_64 => 272,
                Machine::I386 => 310,
            };
            assert_eq!(asked(runtime, machine, (unshare, [NEW_USER, 0, 0]), true, false), EPERM, "{machine:?}");
            assert_eq!(asked(runtime, machine, (435, [0; 3]), true, false), ENOSYS, "{machine:?}: clone3");
        }
    });
}
