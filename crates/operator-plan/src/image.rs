//! The image of a store whose resource names none: the operator's own at first, and then the one that the
//! store has. So a newer operator changes no store unasked.

use skv_resource::ShardedKvSpec;

use crate::observed::Observed;

/// Returns the specification with an image: the one that it names, or that the store's objects have, or the
/// operator's own.
#[must_use]
pub fn with_image(spec: &ShardedKvSpec, seen: &Observed, own: &str) -> ShardedKvSpec {
    let mut spec = spec.clone();
    let kept = || seen.image.clone().unwrap_or_else(|| own.to_owned());
    spec.image.name.get_or_insert_with(kept);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_the_image_that_it_has_until_its_resource_names_another() {
        let image = |named: Option<&str>, seen: Option<&str>| {
            let mut spec = ShardedKvSpec::default();
            spec.image.name = named.map(str::to_owned);
            let seen = Observed { image: seen.map(str::to_owned), ..Observed::default() };
            with_image(&spec, &seen, "operators:2").image.name.unwrap()
        };
        assert_eq!(image(None, None), "operators:2");
        assert_eq!(image(None, Some("operators:1")), "operators:1");
        assert_eq!(image(Some("mine:3"), Some("operators:1")), "mine:3");
    }
}
