//! Commands about manifests: `validate` judges one, `explain` shows what can stand in it.

pub(crate) mod explain;
pub(crate) mod validate;
