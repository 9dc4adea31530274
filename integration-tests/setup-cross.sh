#!/bin/bash
# setup-cross.sh - what it takes to build Skiff for x86_64, aarch64 and armv7, and to run ARM programs here: from Debian's
# packages alone (Debian 12 or 13 on x86-64), one Rust compiler for all.
#
#   setup-cross.sh rustc                      prints the path of a rustc 1.85; fetches it if it is not there
#   setup-cross.sh triple armv7               prints Rust's name for it: armv7-unknown-linux-gnueabihf
#   eval "$(setup-cross.sh env armv7 ...)"    makes cargo build for these, under target/cross, and run tests under qemu:
#
#     cargo build --target armv7-unknown-linux-gnueabihf -p skiff
#     cargo test --target armv7-unknown-linux-gnueabihf --workspace --exclude skiff-integration-tests --lib
#
#   setup-cross.sh tests 'aarch64 ...' ARGS   builds tests, to be run elsewhere, with these arguments for cargo test, as in
#     setup-cross.sh tests aarch64 -p skiff-integration-tests --test runtime
#   and prints a line for each: architecture, name, folder of its crate, path of the program
#   setup-cross.sh programs aarch64           builds the programs as those tests are, and prints the folder in which they are
#
# A standard library fits one compiler only, and Debian has those of ARM: Debian 12 in its second compiler (rustc-web, kept for
# browsers), Debian 13 in its own. Both are 1.85, the oldest that Skiff builds with, so setup-msrv.sh checks with this one too.
# Compiler, libraries and qemu are unpacked under target/tools, so that they meet neither the machine's Rust nor its qemu; only
# the C cross compilers are installed, which takes root, and is said. Everything is linked statically, tests too: what is tested
# is linked as what is shipped, and qemu and guests need no libraries of the other machine.
#
# Exit status 3, with the reason on stderr, where there are no such packages.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wanted=1.85
tools=$top/target/tools
root=$tools/rust-$wanted/root

say() { echo "setup-cross: $*" >&2; }
lacking() { say "$*"; exit 3; }

# what OF ARCH: the names that Rust, Debian, gcc and qemu have for it.
what() {
    case $1-$2 in
        triple-x86_64) echo x86_64-unknown-linux-gnu ;; triple-aarch64) echo aarch64-unknown-linux-gnu ;;
        triple-armv7) echo armv7-unknown-linux-gnueabihf ;;
        debian-x86_64) echo amd64 ;; debian-aarch64) echo arm64 ;; debian-armv7) echo armhf ;;
        gnu-x86_64) echo x86_64-linux-gnu ;; gnu-aarch64) echo aarch64-linux-gnu ;; gnu-armv7) echo arm-linux-gnueabihf ;;
        qemu-aarch64) echo qemu-aarch64 ;; qemu-armv7) echo qemu-arm ;;
        *) say "there is no architecture \`$2\`; there are x86_64, aarch64 and armv7"; exit 2 ;;
    esac
}

# private ARGS: apt-get or apt-cache with lists of our own, which know the foreign architectures. The machine's stay as they are.
private() {
    local program=$1
    shift
    "$program" -o "Dir::State::Lists=$tools/apt/lists" -o "Dir::Etc::sourcelist=$tools/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= \
        -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o APT::Sandbox::User=root -o APT::Architecture=amd64 \
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Architectures::=armhf "$@"
}

# Sets $suite, and fetches the lists if this run has not yet.
read_lists() {
    [ -z "${suite:-}" ] || return 0
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || lacking "this takes Debian on x86-64"
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")
    case $suite in bookworm | trixie) ;; *) lacking "this takes the packages of Debian 12 or 13; this machine is \`$suite\`" ;; esac
    local site pocket
    mkdir -p "$tools/apt/lists/partial"
    # A fresh machine's apt knows its sources only when it has read them once.
    [ -n "$(apt-get indextargets)" ] || [ "$(id -u)" != 0 ] || apt-get update -qq >&2
    for pocket in "$suite" "$suite-backports"; do
        # Backports lie beside the suite, whether the machine uses them or not.
        site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk -v s="${pocket%-backports}" '$2 == s {print $1; exit}')
        [ -z "$site" ] || echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $pocket main"
    done >"$tools/apt/sources.list"
    [ -s "$tools/apt/sources.list" ] || lacking "this machine has no apt source for \`$suite\`, or \`apt-get update\` was never run"
    # A suite may have no backports (yet), and a mirror may be half-way through an update.
    private apt-get update -qq >&2 || private apt-get update -qq >&2 || say "apt could not read all of its lists"
}

# newest PACKAGE[:ARCH] [START]: the newest version, of those that begin with START.
newest() { private apt-cache madison "$1" | awk -v s="${2:-}" 'index($3, s) == 1 {print $3; exit}'; }

# unpack INTO PACKAGE...: fetches packages and unpacks them; nothing is installed.
unpack() {
    local into=$1 debs deb
    shift
    say "unpacking $* under ${into#"$top"/}"
    debs=$(mktemp -d "$tools/debs.XXXXXX")
    (cd "$debs" && private apt-get download -qq "$@" >&2)
    mkdir -p "$into"
    for deb in "$debs"/*.deb; do dpkg -x "$deb" "$into"; done
    rm -rf "$debs"
}

# llvm: LLVM, and those of its libraries that this machine lacks.
llvm() {
    local package
    echo libllvm19
    for package in $(private apt-cache depends --recurse --important libllvm19 | grep -x '[a-z][a-z0-9.+-]*' | sort -u); do
        case $package in libllvm19 | libc6 | libgcc-s1 | libstdc++6 | gcc-*-base) continue ;; esac
        dpkg-query -W -f '${db:Status-Abbrev}\n' "$package" 2>/dev/null | grep -q '^ii' || echo "$package"
    done
}

# std ARCH: the compiler's libraries for one architecture, the compiler itself with those of x86_64.
std() {
    local debian web='' version packages
    [ ! -e "$root/.$1" ] || return 0
    read_lists
    debian=$(what debian "$1")
    [ "$suite" = trixie ] || web=-web
    version=$(newest "rustc$web" "$wanted.")
    [ -n "$version" ] || lacking "there is no rustc$web $wanted in the apt sources of this machine"
    packages=("libstd-rust$web-dev:$debian=$version")
    # The second is a library in name only: it has the compiler itself, which wants LLVM.
    if [ "$1" = x86_64 ]; then packages+=("rustc$web=$version" "libstd-rust$web-$wanted=$version" $(llvm)); fi
    unpack "$root" "${packages[@]}"
    : >"$root/.$1"
}

# rustc and rustdoc as they are to be called: the wrapper keeps the unpacked libraries from every other program.
rustc() {
    local program path
    std x86_64
    for program in rustc rustdoc; do
        path=$root/usr/bin/$program
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$root/usr/lib/x86_64-linux-gnu" "$path" >"$tools/rust-$wanted/$program"
        chmod +x "$tools/rust-$wanted/$program"
    done
    "$tools/rust-$wanted/rustc" --version | grep -q "^rustc $wanted\." || lacking "the unpacked rustc does not run"
    echo "$tools/rust-$wanted/rustc"
}

# emulators: qemu-user, static. Debian 12's own is an old one in another package.
emulators() {
    local version
    [ ! -x "$tools/qemu/usr/bin/qemu-arm" ] || return 0
    read_lists
    version=$(newest qemu-user "1:1")
    if [ -n "$version" ]; then
        unpack "$tools/qemu-new" "qemu-user=$version"
    else
        unpack "$tools/qemu-new" qemu-user-static
        for program in qemu-arm qemu-aarch64; do mv "$tools/qemu-new/usr/bin/$program-static" "$tools/qemu-new/usr/bin/$program"; done
    fi
    # The other twenty machines are 300 MB.
    find "$tools/qemu-new" -type f ! -name qemu-arm ! -name qemu-aarch64 -delete
    rm -rf "$tools/qemu"
    mv "$tools/qemu-new" "$tools/qemu"
}

# compilers ARCH...: C compilers, which link, and compile what some crates have in C and assembly.
compilers() {
    local arch packages=()
    for arch in "$@"; do
        if ! command -v "$(what gnu "$arch")-gcc" >/dev/null; then
            if [ "$arch" = x86_64 ]; then packages+=(gcc libc6-dev); else
                packages+=("gcc-$(what gnu "$arch")" "libc6-dev-$(what debian "$arch")-cross"); fi
        fi
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || { say "run as root, or install what is missing: apt-get install ${packages[*]}"; exit 1; }
    # Guests may be prepared meanwhile (guest/install-qemu.sh), and apt's own lock does not wait.
    local cache=${SKIFF_VM_CACHE:-$HOME/.cache/skiff-vm}
    mkdir -p "$cache"
    exec 8>"$cache/.apt-lock"
    flock 8
    say "installing ${packages[*]} (apt)"
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 8>&- 9>&-
    exec 8>&-
}

# environment ARCH...: the lines for the caller's shell.
environment() {
    local arch triple upper
    compilers "$@"
    rustc >/dev/null
    printf 'export RUSTC=%q RUSTDOC=%q CARGO_TARGET_DIR=%q\n' "$tools/rust-$wanted/rustc" "$tools/rust-$wanted/rustdoc" "$top/target/cross"
    for arch in "$@"; do
        std "$arch"
        triple=$(what triple "$arch")
        upper=$(tr 'a-z-' 'A-Z_' <<<"$triple")
        printf 'export CARGO_TARGET_%s_LINKER=%s-gcc CC_%s=%s-gcc\n' "$upper" "$(what gnu "$arch")" "${triple//-/_}" "$(what gnu "$arch")"
        printf 'export CARGO_TARGET_%s_RUSTFLAGS="-C target-feature=+crt-static"\n' "$upper"
        if [ "$arch" != x86_64 ]; then
            emulators
            printf 'export CARGO_TARGET_%s_RUNNER=%q\n' "$upper" "$tools/qemu/usr/bin/$(what qemu "$arch")"
        fi
    done
}

# build ARCHES COMMAND ARGS...: has cargo build what is to be run once or twice: without lines for a debugger, which are most of a
# test's size. What computes for long is worth being compiled for longer, since all is slower under emulation.
build() {
    local arches=$1 command=$2 arch lines targets=() options=() package
    shift 2
    # shellcheck disable=SC2086 # words
    lines=$(environment $arches)
    eval "$lines"
    for arch in $arches; do targets+=(--target "$(what triple "$arch")"); done
    for package in crc32fast minisign minisign-verify scrypt sha2 zlib-rs; do options+=(--config "profile.dev.package.$package.opt-level=2"); done
    cd "$top"
    CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 cargo "$command" --locked "${options[@]}" "${targets[@]}" "$@"
}

# programs ARCH: the four programs, beside the tests of the crates.
programs() {
    build "$1" build -p skiff -p skiff-shim -p skiff-supervisor --bins >&2
    echo "$top/target/cross/$(what triple "$1")/debug"
}

# tests ARCHES ARGS...: the programs of tests.
tests() {
    local arches=$1 arch
    shift
    build "$arches" test --no-run "$@" --message-format=json-render-diagnostics |
        python3 -c 'import json, os, sys
arches = dict(zip(sys.argv[2::2], sys.argv[1::2]))
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        program = message["executable"]
        arch = next(arch for triple, arch in arches.items() if "/" + triple + "/" in program)
        print(arch, message["target"]["name"], os.path.dirname(message["manifest_path"]), program)
' $(for arch in $arches; do echo "$arch" "$(what triple "$arch")"; done)
}

# One at a time: two builds may want the same package.
mkdir -p "$tools"
exec 9>"$tools/.cross.lock"
flock 9
case ${1:-} in
    rustc) rustc ;;
    triple) what triple "${2:-}" ;;
    env) shift && environment "$@" ;;
    tests) shift && tests "$@" ;;
    programs) programs "${2:-}" ;;
    *) sed -n '2,23p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
