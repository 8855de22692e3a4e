//! Measurements of real servers, each a `cargo bench -p skv-benches --bench NAME`: `recovery`,
//! `handoff`, `groups`, `threads`, `crowds` and `limits`. Results stand in `docs/benchmarks/`.
