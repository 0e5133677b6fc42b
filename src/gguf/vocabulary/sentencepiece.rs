//! The pieces in a tokenizer.model: a message of protocol buffers, of which only these fields are
//! read (<https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>).

/// A piece of SentencePiece's vocabulary.
#[derive(Debug, PartialEq)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Its score: of two merges, the one with the better score is done first.
    pub score: f32,
}

/// Field `pieces` of the model; fields `piece` and `score` of a piece.
const PIECES: u64 = 1;
const TEXT: u64 = 1;
const SCORE: u64 = 2;

/// Returns the pieces, by id; none if `model` is no such message.
pub fn pieces(model: &[u8]) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = model;
    while !rest.is_empty() {
        let (field, content) = next(&mut rest)?;
        if let (PIECES, Content::Bytes(mut piece)) = (field, content) {
            let (mut text, mut score) = (String::new(), 0.0);
            while !piece.is_empty() {
                match next(&mut piece)? {
                    (TEXT, Content::Bytes(bytes)) => text = String::from_utf8(bytes.to_vec()).ok()?,
                    (SCORE, Content::Word(bits)) => score = f32::from_bits(bits),
                    _ => {}
                }
            }
            pieces.push(Piece { text, score });
        }
    }
    (!pieces.is_empty()).then_some(pieces)
}

enum Content<'a> {
    Number,
    Word(u32),
    Bytes(&'a [u8]),
}

/// Takes the next field.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Content<'a>)> {
    let tag = number(rest)?;
    let content = match tag & 7 {
        0 => {
            number(rest)?;
            Content::Number
        }
        1 => {
            *rest = rest.get(8..)?;
            Content::Number
        }
        2 => {
            let length = usize::try_from(number(rest)?).ok()?;
            let bytes = rest.get(..length)?;
            *rest = &rest[length..];
            Content::Bytes(bytes)
        }
        5 => {
            let bytes = rest.get(..4)?;
            *rest = &rest[4..];
            Content::Word(u32::from_le_bytes(bytes.try_into().ok()?))
        }
        _ => return None,
    };
    Some((tag >> 3, content))
}

/// Takes an integer of variable length.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_texts_and_scores() {
        let mut model = Vec::new();
        for (text, score) in [("<unk>", 0.0_f32), ("\u{2581}the", -3.5)] {
            let mut piece = vec![0x0a, text.len() as u8];
            piece.extend(text.as_bytes());
            piece.push(0x15);
            piece.extend(score.to_le_bytes());
            // Its type, which is not read.
            piece.extend([0x18, 1]);
            model.extend([0x0a, piece.len() as u8]);
            model.extend(piece);
        }
        // A field of another number.
        model.extend([0x12, 1, 0]);
        let read = pieces(&model).unwrap();
        assert_eq!(read[1].text, "\u{2581}the");
        assert_eq!((read[0].score, read[1].score), (0.0, -3.5));
        assert_eq!(pieces(&model[..model.len() - 1]), None);
        assert_eq!(pieces(b"{}"), None);
        assert_eq!(pieces(&[0xff; 20]), None);
    }
}
