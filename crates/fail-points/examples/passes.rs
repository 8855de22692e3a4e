//! Passes a fail point called `here`, and prints that it did.

use skv_fail_points::fail_point;

/// The parts of tokio that the macro needs, so that this example needs only the crate itself.
mod tokio {
    pub(crate) mod task {
        #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "a point is nothing"))]
        pub(crate) fn block_in_place(block: &mut dyn FnMut()) {
            block();
        }
    }
}

fn main() {
    fail_point!("he{}", "re");
    println!("passed");
}
