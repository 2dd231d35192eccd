# The common commands; `just` lists them.

# Lists the commands.
_default:
    @just --list

# Runs the server with a sandbox Admin Control, a demo account and sample rooms.
dev:
    cargo run -- dev

# Runs all tests on SQLite and those of the database on PostgreSQL, or those that ARGUMENTS select.
test *ARGUMENTS:
    tests/run {{ARGUMENTS}}

# Checks formatting, lints and documentation.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

# Regenerates the Postman collection from docs/openapi.json, which is written by hand.
openapi:
    cargo run --example postman > docs/clients/proconf.postman_collection.json

# Runs the benchmark; ARGUMENTS as in docs/PERFORMANCE.md.
bench *ARGUMENTS:
    bench/run {{ARGUMENTS}}
