#!/usr/bin/env bash
# Builds master-svr, svr and clt (docs/labs/master.md) into build/dev. Rust is all it needs.
set -euo pipefail

# A relative directory means one below where this was called.
if [[ -n ${CARGO_TARGET_DIR:-} ]]; then
    mkdir -p "$CARGO_TARGET_DIR"
    CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
    export CARGO_TARGET_DIR
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build/dev

# cargo says where the programs are. Together with the whole workspace and a test, dependencies have
# the features that they have in the tests' programs, so that nothing is compiled twice.
cargo build --locked --workspace --test=profiles --bin=master-svr --bin=svr --bin=clt \
    --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/\(master-svr\|svr\|clt\)\)".*/\1/p' |
    while read -r program; do
        # Renamed into place: one that runs at the moment goes on.
        cp "$program" "build/dev/.${program##*/}.$$"
        mv -f "build/dev/.${program##*/}.$$" "build/dev/${program##*/}"
    done
