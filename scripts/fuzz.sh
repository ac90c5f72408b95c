#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, for SOAK_SECONDS each; of all targets, those that read what the network
# sends to a responder or a follower for SOAK_NETWORK_SECONDS. With --minimise, puts what was found for the named targets
# into their seeds, as little as covers the same. Needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${SOAK_SECONDS:-60}
network_seconds=${SOAK_NETWORK_SECONDS:-600}
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: there is no nightly toolchain: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz" >&2
    cargo install cargo-fuzz --locked
fi

if [[ ${1:-} == --minimise ]]; then
    shift
    for target in "$@"; do
        echo "fuzz: $target, minimising" >&2
        kept=$(mktemp -d)
        cargo +nightly fuzz run "$target" "$kept" "seeds/$target" "corpus/$target" -- -set_cover_merge=1 -max_len=500
        mkdir -p "seeds/$target"
        cp -n "$kept"/* "seeds/$target/"
        rm -r "$kept"
    done
    exit
fi

targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
else
    network_seconds=$seconds
fi
for target in "${targets[@]}"; do
    case $target in
        ocsp_request | ocsp_path | feed_frames) duration=$network_seconds ;;
        *) duration=$seconds ;;
    esac
    echo "fuzz: $target, $duration s" >&2
    # What the fuzzer finds goes into corpus/, which is not kept; seeds/ is, and so are the files that ship.
    mkdir -p "corpus/$target"
    corpora=("corpus/$target")
    case $target in
        config) cp ../config/cardinal.toml ../config/station.toml "corpus/$target/" ;;
        profile) cp ../config/profiles/profiles.toml "corpus/$target/" ;;
        *) corpora+=("seeds/$target") ;;
    esac
    cargo +nightly fuzz run "$target" "${corpora[@]}" -- \
        -max_total_time="$duration" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1
done
