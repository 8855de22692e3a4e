//! Commands about the stores that `skv up` runs on this machine: `stores` lists them, `use` chooses one,
//! `env` tells other programs of it, and `logs` shows what its processes wrote.

pub(crate) mod choose;
pub(crate) mod environment;
pub(crate) mod logs;
pub(crate) mod stores;
