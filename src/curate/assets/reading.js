// How texts are read: as they are, or rendered; folded where they are long; with what was searched
// for marked, and a button that copies them.

import { counted, grouped, make, plain, say } from "./element.js";
import { filter } from "./filter.js";
import { rendered } from "./markdown.js";
import { terms, withHits } from "./marks.js";

/** A longer text is folded, by characters and by lines. */
const FOLDED = 2500, LINES = 40;
/** How many characters the browser lays out without a pause. */
const LONG = 20_000;

/** Texts that were unfolded, by their keys. */
const unfolded = new Set();

/** Whether Markdown is rendered. A browser without storage forgets it. */
export const look = {
  get isRendered() { return localStorage.getItem("rendered") === "yes"; },
  toggle() { localStorage.setItem("rendered", this.isRendered ? "no" : "yes"); },
};

/** The words that the list is searched for. */
export const wanted = () => terms(filter().text ?? "");

/** Shows a text below its title. `key` says which text it is, so that it stays unfolded. */
export function titled(title, text, { kind = "", key = title } = {}) {
  const isLong = text.length > FOLDED || text.split("\n", LINES + 1).length > LINES;
  return [
    make("div", { class: "titled" }, make("h2", {}, title), isLong && make("span", { class: "length" }, counted(text.length, "character")),
      text && make("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}`, onclick: () => copy(text, title) }, "Copy")),
    ...body(text, kind, isLong && !unfolded.has(key) ? key : null),
  ];
}

function body(text, kind, foldedAs) {
  const words = wanted();
  const leaf = (piece) => withHits(piece, words);
  const { isRendered } = look;
  const box = make(isRendered ? "div" : "p", { class: `text ${isRendered ? "rendered" : ""} ${kind}`.replace(/\s+/g, " ").trim(), dir: "auto" });
  let shown = 0;
  const more = make("button", { type: "button", class: "more", onclick: () => show() });
  const show = () => {
    let end = Math.min(text.length, shown + LONG);
    // Not between the halves of a surrogate pair.
    if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) end -= 1;
    more.remove();
    if (isRendered) box.replaceChildren(...rendered(text.slice(0, end), leaf));
    else box.append(...leaf(text.slice(shown, end)));
    shown = end;
    if (shown < text.length) {
      more.textContent = `Show more: ${grouped(shown)} of ${counted(text.length, "character")}`;
      box.append(more);
    }
  };
  show();
  if (!foldedAs) return [box];
  const unfold = make("button", { type: "button", class: "unfold", "aria-expanded": "false", onclick: () => {
    unfolded.add(foldedAs);
    box.classList.remove("folded");
    unfold.remove();
  } }, `Show all: ${counted(text.length, "character")}`);
  box.classList.add("folded");
  return [box, unfold];
}

/** Copies a text. Browsers have a clipboard only where the address is this machine or has TLS; elsewhere it is selected
    and copied as if by hand. */
async function copy(text, title) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else byHand(text);
    say(`${title} copied.`);
  } catch (error) {
    say(`It could not be copied: ${error.message}`, true);
  }
}

function byHand(text) {
  const area = make("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  before?.focus?.();
  if (!isDone) throw new Error("the browser does not allow it");
}

/** Shows a title as lists have it, with what was searched for marked. */
export const listed = (text) => withHits(text, wanted());

/** Shows `theirs`, with the words marked that `ours` has there, too, or, as `differing`, those that it has not. */
export function compared(parts, length, isShared) {
  const box = make("p", { class: "text", dir: "auto" });
  let run = "";
  let between = "";
  const flush = () => {
    if (run) box.append(make("mark", { class: isShared ? "shared" : null }, plain(run)));
    box.append(...plain(between));
    run = between = "";
  };
  for (const { piece, isWord, differs } of parts) {
    if (isWord && differs !== isShared) {
      run += between + piece;
      between = "";
    } else if (!isWord && run && isShared && /^\s+$/.test(piece)) between += piece;
    else {
      flush();
      box.append(...plain(piece));
    }
  }
  flush();
  if (length > LONG) box.append(` … ${counted(length, "character")}`);
  return box;
}
