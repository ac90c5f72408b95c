#!/usr/bin/env bash
# Installs what is missing on a Debian machine, and says nothing when nothing is. On other systems it says what to
# install, and stops. Rust is not installed: whoever wants to build it has a way of their own (https://rustup.rs).
#
# `setup.sh tests` also brings what only the tests need: the strangers in Python who judge certificates, under
# target/python, at the versions of tests/python/requirements.txt; and two web servers that check cards by OCSP. No
# service is started: of Apache the package without one is installed, and nginx is unpacked under target/strangers.
set -euo pipefail
cd "$(dirname "$0")/.."

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

for_tests=false
if [[ ${1:-} == tests ]]; then
    for_tests=true
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
    [[ -x /usr/sbin/apache2 || -x /usr/sbin/httpd ]] || missing+=(apache2-bin)
fi

as_root=()
install_packages() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

install_missing() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "missing: ${missing[*]}"
        say "these are the names of Debian's packages; install their like with this system's package manager, and try again"
        exit 1
    fi

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
}

# Made beside its place and moved when it is whole, so that what was interrupted is made again. Only its `python` is used:
# what pip writes beside it would not survive the move.
python_for_tests() {
    local wanted=tests/python/requirements.txt place=target/python
    cmp -s "$wanted" "$place/requirements.txt" && "$place/bin/python" -c '' 2>/dev/null && return 0
    say "installing what $wanted lists into $place"
    local new=$place.new log=$place.log
    rm -rf "$new"
    mkdir -p target
    if ! { python3 -m venv "$new" && "$new/bin/python" -m pip --quiet --disable-pip-version-check install -r "$wanted"; } \
        >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "that did not work: the tests need a current Python 3 with its venv module, and the packages of $wanted from PyPI"
        exit 1
    fi
    cp "$wanted" "$new/requirements.txt"
    rm -rf "$place" "$log"
    mv "$new" "$place"
}

# Its package would start a service, so its program is all that is taken. Needs no root.
nginx_for_tests() {
    local place=target/strangers
    local new=$place.new log=$place.log
    [[ -x /usr/sbin/nginx || -x $place/usr/sbin/nginx ]] && return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        say "nginx is missing; the tests need it: install it with this system's package manager, and try again"
        exit 1
    fi
    say "unpacking nginx into $place"
    rm -rf "$new"
    mkdir -p "$new"
    fetch() { (cd "$new" && apt-get -qq download nginx) >"$log" 2>&1; }
    # Lists of packages may be missing, or name a version that is gone.
    if ! { fetch || { install_packages update >>"$log" 2>&1 && fetch; }; } ||
        ! dpkg-deb --extract "$new"/nginx_*.deb "$new" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "that did not work; install it by hand: apt-get install nginx"
        exit 1
    fi
    rm -rf "$place" "$log" "$new"/nginx_*.deb
    mv "$new" "$place"
}

[[ ${#missing[@]} -eq 0 ]] || install_missing
if $for_tests; then
    python_for_tests
    nginx_for_tests
fi
