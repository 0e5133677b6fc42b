//! How the storage of a KV cache grows.

/// The shape of a cache: sequences, and tokens of each.
pub type Shape = (i64, i64);

/// Returns the shape that a cache of shape `have` should take to hold `want`. It stays within
/// `most` in each direction and within `fits` as a whole, unless `want` itself does not.
///
/// Where allowed, it grows by half of what it had, so that a sequence that grows token by token is
/// copied a constant number of times on average.
pub fn grown(have: Shape, want: Shape, most: Shape, fits: impl Fn(Shape) -> bool) -> Shape {
    let exact = (have.0.max(want.0), have.1.max(want.1));
    let spare = |have: i64, want: i64, most: i64| {
        if want <= have {
            have
        } else {
            want.max((have + have / 2).min(most))
        }
    };
    let (slots, capacity) = (spare(have.0, want.0, most.0), spare(have.1, want.1, most.1));
    [(slots, capacity), (exact.0, capacity), (slots, exact.1)]
        .into_iter()
        .find(|&shape| fits(shape))
        .unwrap_or(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_grows_by_half_but_not_beyond_what_is_allowed() {
        let within = |tokens: i64| move |shape: Shape| shape.0 * shape.1 <= tokens;
        // By half in both directions; in one only, tokens first; exactly.
        assert_eq!(grown((4, 100), (5, 101), (32, 4096), within(10_000)), (6, 150));
        assert_eq!(grown((4, 100), (5, 101), (32, 4096), within(800)), (5, 150));
        assert_eq!(grown((4, 100), (5, 101), (32, 4096), within(620)), (6, 101));
        assert_eq!(grown((4, 100), (5, 101), (32, 4096), within(505)), (5, 101));
        // No more slots than may run at once, no more tokens than the context has.
        assert_eq!(grown((4, 100), (5, 101), (5, 120), within(10_000)), (5, 120));
        // A cache never shrinks.
        assert_eq!(grown((4, 100), (2, 300), (32, 4096), within(10_000)), (4, 300));
        assert_eq!(grown((0, 0), (1, 7), (32, 4096), within(10_000)), (1, 7));
    }
}
