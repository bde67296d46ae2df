#!/usr/bin/env bash
# All checks and tests: format, lints, documentation, every test.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

step() { printf '\n== %s\n' "$*" >&2; }

step "format"
cargo fmt --check
step "lints"
cargo clippy --all-targets --locked -- -D warnings
step "lints of the build without language models"
cargo clippy --all-targets --locked --no-default-features -- -D warnings
step "lints of the build with encoders alone"
cargo clippy --all-targets --locked --no-default-features --features neural -- -D warnings
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --quiet
step "tests"
scripts/with_server.sh cargo test --locked
