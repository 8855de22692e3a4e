//! Passes a fail point called `here`, and says so.

use skv_fail_points::fail_point;

/// What the macro needs of tokio, so that this example needs no more than the crate itself.
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
