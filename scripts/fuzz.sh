#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, for SOAK_SECONDS each. Needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${SOAK_SECONDS:-60}
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: there is no nightly toolchain: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz" >&2
    cargo install cargo-fuzz --locked
fi

targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi
for target in "${targets[@]}"; do
    echo "fuzz: $target, $seconds s" >&2
    # What the fuzzer finds goes into corpus/, which is not kept; seeds/ is, and so are the files that ship.
    mkdir -p "corpus/$target"
    corpora=("corpus/$target")
    case $target in
        config) cp ../config/cardinal.toml ../config/station.toml "corpus/$target/" ;;
        profile) cp ../config/profiles/profiles.toml "corpus/$target/" ;;
        *) corpora+=("seeds/$target") ;;
    esac
    cargo +nightly fuzz run "$target" "${corpora[@]}" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1
done
