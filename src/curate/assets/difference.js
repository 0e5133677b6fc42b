// The words in which two texts differ.

/** The most pairs of words to compare; more would take noticeably long. */
const MOST_PAIRS = 1_000_000;

const pieces = (text) => text.split(/([\p{L}\p{N}]+)/u);
const isWord = (piece) => /[\p{L}\p{N}]/u.test(piece);

/** Marks the words of `ours` and of `theirs` that are in their longest common subsequence. */
function common(ours, theirs) {
  const width = theirs.length + 1;
  if (ours.length * theirs.length > MOST_PAIRS) {
    const [some, others] = [new Set(ours), new Set(theirs)];
    return [ours.map((word) => others.has(word)), theirs.map((word) => some.has(word))];
  }
  const best = new Uint32Array((ours.length + 1) * width);
  for (let i = ours.length - 1; i >= 0; i--) {
    for (let j = theirs.length - 1; j >= 0; j--) {
      best[i * width + j] = ours[i] === theirs[j]
        ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const kept = [new Array(ours.length).fill(false), new Array(theirs.length).fill(false)];
  for (let i = 0, j = 0; i < ours.length && j < theirs.length;) {
    if (ours[i] === theirs[j]) kept[0][i++] = kept[1][j++] = true;
    else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++;
    else j++;
  }
  return kept;
}

/** Splits `theirs` into parts, each with whether it is a word, and one that `ours` does not have there. */
export function differences(ours, theirs) {
  const words = (text) => pieces(text).filter(isWord).map((word) => word.toLowerCase());
  const kept = common(words(ours), words(theirs))[1];
  let at = 0;
  return pieces(theirs).filter(Boolean).map((piece) => ({ piece, isWord: isWord(piece), differs: isWord(piece) && !kept[at++] }));
}
