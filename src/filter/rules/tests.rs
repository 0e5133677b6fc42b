//! The rules over their fixtures: rows that a rule must and must not object to.

use super::*;
