//! Free ports on loopback, each given out once.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use rand::RngExt as _;

/// The range of ports, below that from which the system takes ports for outgoing connections.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// Returns a port that is free, and that no other test of this process gets.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    let mut rng = rand::rng();
    std::iter::repeat_with(|| rng.random_range(RANGE))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port))
        .expect("the search never ends without one")
}
