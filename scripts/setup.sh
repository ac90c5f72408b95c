#!/usr/bin/env bash
# Installs what is missing on a Debian machine, and says nothing when nothing is. On other systems it says what to
# install, and stops. Rust is not installed: whoever wants to build it has a way of their own (https://rustup.rs).
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

if ! command -v cargo >/dev/null 2>&1; then
    say "cargo is missing: install Rust from https://rustup.rs, open a new shell, and try again"
    exit 1
fi

# The file that a Debian package brings, or the command; and the package.
missing=()
need_command() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

# The module, and not only softhsm2-util: with the one but without the other nothing works.
softhsm_module() {
    local path
    for path in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so \
        /usr/lib64/softhsm/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so /opt/homebrew/lib/softhsm/libsofthsm2.so; do
        [[ -e $path ]] && return 0
    done
    return 1
}

softhsm_module || missing+=(softhsm2)
need_command pkcs11-tool opensc
need_command openssl openssl
need_command certtool gnutls-bin
need_command curl curl
need_command jq jq
need_command cc build-essential
need_command pkg-config pkg-config

[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    say "missing: ${missing[*]}"
    say "these are the names of Debian's packages; install their like with this system's package manager, and try again"
    exit 1
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null 2>&1; then
        say "missing: ${missing[*]}"
        say "there is no sudo here; as root run: apt-get install ${missing[*]}"
        exit 1
    fi
    as_root=(sudo)
    # Where nobody can type a password, fail at once and say so.
    if [[ ! -t 0 ]]; then
        as_root=(sudo -n)
    fi
fi

say "installing ${missing[*]}"
install_packages() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { install_packages update && install_packages install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    say "that did not work; run it by hand: apt-get install ${missing[*]}"
    exit 1
fi

# A package may be installed and still not bring the file, under another architecture's path for one.
if ! softhsm_module; then
    say "softhsm2 is installed, but libsofthsm2.so is not where it is looked for; give its path as hsm.module"
fi
