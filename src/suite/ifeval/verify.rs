//! The verdict on an answer, strict and loose.

use super::python::strip;
use super::row::IfevalRow;

/// Which instructions of a row an answer follows, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfevalVerdict {
    /// By the answer as it is.
    pub strict: Vec<bool>,
    /// By any of its eight variants: without its first line, its last line, both or none, and
    /// without `*` or with it.
    pub loose: Vec<bool>,
}

impl IfevalVerdict {
    /// Whether the answer follows all instructions as it is: accuracy by prompt.
    pub fn follows_strictly(&self) -> bool {
        self.strict.iter().all(|&follows| follows)
    }

    /// Whether each instruction is followed by one of the answer's variants.
    pub fn follows_loosely(&self) -> bool {
        self.loose.iter().all(|&follows| follows)
    }
}

/// Judges an answer. A blank one follows nothing.
pub fn verify(row: &IfevalRow, answer: &str) -> IfevalVerdict {
    let is_blank = strip(answer).is_empty();
    let strict: Vec<bool> = row
        .instructions
        .iter()
        .map(|instruction| !is_blank && (instruction.check)(answer, &row.punkt))
        .collect();
    if strict.iter().all(|&follows| follows) {
        return IfevalVerdict {
            loose: strict.clone(),
            strict,
        };
    }
    let variants = variants(answer);
    let judged = row.instructions.iter().zip(&strict);
    let loose = judged
        .map(|(instruction, &strict)| {
            let follows = |variant: &String| (instruction.check)(variant, &row.punkt);
            strict || variants.iter().any(follows)
        })
        .collect();
    IfevalVerdict { strict, loose }
}

/// The variants of an answer other than itself, each once and none blank.
fn variants(answer: &str) -> Vec<String> {
    let after_first = answer.split_once('\n').map_or("", |(_, rest)| rest);
    let before_last = answer.rsplit_once('\n').map_or("", |(rest, _)| rest);
    let inner = after_first.rsplit_once('\n').map_or("", |(rest, _)| rest);
    let parts = [after_first, before_last, inner].map(strip);
    let mut variants: Vec<String> = Vec::with_capacity(7);
    let stars = [answer, parts[0], parts[1], parts[2]].map(|text| text.replace('*', ""));
    for variant in parts.into_iter().map(str::to_string).chain(stars) {
        if variant != answer && !strip(&variant).is_empty() && !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    variants
}

#[cfg(test)]
mod tests;
