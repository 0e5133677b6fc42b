//! People compare the answers of two models, without knowing which is whose: the page's view
//! `/compare`.
//!
//! - [`sides`]: which answer is shown on the left.
//! - [`api`]: the view's API.

pub mod api;
pub mod sides;
