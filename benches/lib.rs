//! Measurements of real servers, each a `cargo bench -p skv-benches --bench NAME`: `recovery`,
//! `handoff`, `groups` and `threads`. Results stand in `docs/benchmarks/`.
