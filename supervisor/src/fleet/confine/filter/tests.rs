//! Runs the filters as the kernel would, and one of them in the kernel.

use super::program::Instruction;
use super::*;

/// What the kernel knows about a call, as far as filters look.
#[derive(Clone, Copy)]
struct Call {
    number: libc::c_long,
    audit: u32,
    first: u64,
}

fn call(number: libc::c_long, first: u64) -> Call {
    Call { number, audit: Machine::HERE.audit, first }
}

/// The kernel's own machine (Documentation/networking/filter.rst), as far as our programs go.
fn run(program: &[Instruction], call: Call) -> u32 {
    let mut data = Vec::new();
    data.extend((call.number as u32).to_ne_bytes());
    data.extend(call.audit.to_ne_bytes());
    data.extend(0xdead_beef_dead_beef_u64.to_ne_bytes());
    data.extend(call.first.to_ne_bytes());
    let (mut held, mut at) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                held = u32::from_ne_bytes(data[k as usize..][..4].try_into().unwrap());
                continue;
            }
            0x06 => return k,
            0x15 => held == k,
            0x35 => held >= k,
            0x45 => held & k != 0,
            _ => panic!("the kernel does not take instruction {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

fn answer(filter: Filter, call: Call) -> u32 {
    run(&program::assemble(Machine::HERE, &filter.rules()), call)
}

const ALLOWED: u32 = 0x7fff_0000;
const KILLED: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0000 | 1;
const ENOSYS: u32 = 0x0005_0000 | 38;

#[test]
fn what_is_on_the_list_is_refused_and_nothing_else() {
    for filter in [Filter::Network, Filter::Files] {
        for number in DENIED.iter().chain(DENIED_HERE) {
            assert_eq!(answer(filter, call(*number, 0)), EPERM, "{number}");
        }
        assert_eq!(answer(filter, call(libc::SYS_clone3, 0)), ENOSYS);
        for number in [libc::SYS_read, libc::SYS_openat, libc::SYS_exit_group, libc::SYS_futex, libc::SYS_clock_gettime]
        {
            assert_eq!(answer(filter, call(number, 0)), ALLOWED, "{number}");
        }
    }
}

#[test]
fn a_child_calls_out_and_makes_threads_but_no_processes() {
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
    let asked = |filter, number, first: u64| answer(filter, call(number, first));
    for (family, wanted) in
        [(libc::AF_INET, ALLOWED), (libc::AF_INET6, ALLOWED), (libc::AF_UNIX, EPERM), (libc::AF_NETLINK, EPERM)]
    {
        assert_eq!(asked(Filter::Network, libc::SYS_socket, family as u64), wanted, "{family}");
        assert_eq!(asked(Filter::Files, libc::SYS_socket, family as u64), EPERM, "{family}");
    }
    // The kernel does not look at the upper half of an `int` either.
    assert_eq!(asked(Filter::Network, libc::SYS_socket, 1 << 32 | libc::AF_UNIX as u64), EPERM);
    assert_eq!(asked(Filter::Network, libc::SYS_clone, thread), ALLOWED);
    assert_eq!(asked(Filter::Network, libc::SYS_clone, libc::SIGCHLD as u64), EPERM);
    assert_eq!(asked(Filter::Files, libc::SYS_clone, thread), EPERM);
    assert_eq!(asked(Filter::Network, libc::SYS_connect, 3), ALLOWED);
    assert_eq!(asked(Filter::Files, libc::SYS_connect, 3), EPERM);
}

#[test]
fn rules_after_one_that_looked_at_an_argument_still_see_the_number() {
    let neither = Rule { call: 5, when: When::FirstIsNeither(7, 8), errno: 1 };
    let lacks = Rule { call: 6, when: When::FirstLacks(1), errno: 1 };
    let rules = [neither, lacks, Rule::always(8, 1), Rule { call: 5, when: When::FirstLacks(8), errno: 38 }];
    let found = |number, first| run(&program::assemble(Machine::HERE, &rules), call(number, first));
    assert_eq!([found(5, 9), found(5, 7), found(5, 8)], [EPERM, ENOSYS, ALLOWED]);
    assert_eq!([found(6, 8), found(6, 1), found(8, 0), found(7, 8)], [EPERM, ALLOWED, EPERM, ALLOWED]);
}

#[test]
fn another_way_of_calling_does_not_get_round_the_list() {
    let machines = [Machine::X86_64, Machine::AARCH64, Machine::ARM];
    for built_for in machines {
        let program = program::assemble(built_for, &Filter::Files.rules());
        for calls in machines {
            let wanted = if built_for == calls { ALLOWED } else { KILLED };
            assert_eq!(run(&program, Call { number: libc::SYS_read, audit: calls.audit, first: 0 }), wanted);
        }
        // AUDIT_ARCH_I386: what `int $0x80` is for a 64-bit program.
        assert_eq!(run(&program, Call { number: libc::SYS_read, audit: 0x4000_0003, first: 0 }), KILLED);
    }
    let x86_64 = program::assemble(Machine::X86_64, &[]);
    let x32 = Call { number: 0x4000_0000, audit: Machine::X86_64.audit, first: 0 };
    assert_eq!((run(&x86_64, x32), run(&x86_64, Call { number: 0x3fff_ffff, ..x32 })), (ENOSYS, ALLOWED));
}

/// Each is a call of its own on 32-bit machines, and one that a list for 64 bits has not got.
#[test]
#[cfg(target_pointer_width = "32")]
fn calls_with_64_bit_time_are_on_the_list_too() {
    for number in [404, 405] {
        assert_eq!(answer(Filter::Network, call(number, 0)), EPERM, "{number}");
    }
}

/// A filter holds for the thread that takes it, so this test is one.
#[test]
#[allow(clippy::disallowed_methods, reason = "nothing is forked here")]
fn the_kernel_takes_it() {
    let held = std::thread::spawn(|| {
        use std::os::unix::net::UnixDatagram;
        assert!(UnixDatagram::unbound().is_ok());
        if let Some(missing) = Filter::Network.apply().unwrap() {
            return Err(missing);
        }
        let refused = UnixDatagram::unbound().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap_err();
        assert_eq!(bound.raw_os_error(), Some(libc::EPERM));
        let mode = rustix::thread::secure_computing_mode();
        assert!(mode.is_err() || mode.unwrap() == rustix::thread::SecureComputingMode::Filter);
        std::thread::spawn(|| ()).join().unwrap();
        Ok(())
    });
    if let Err(missing) = held.join().unwrap() {
        crate::skip::skip(&missing);
    }
}
