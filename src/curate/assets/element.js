// Elements. Texts only become text nodes: models wrote them.

export const $ = (id) => document.getElementById(id);

/** Makes an element with attributes (`class`, `type`, `on…` for listeners) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Formats a number: `1,234`. */
export const grouped = (number) => number.toLocaleString("en");

/** Formats a number with its noun: `1 task`, `1,234 tasks`. */
export const counted = (number, one) => `${grouped(number)} ${one}${number === 1 ? "" : "s"}`;

/** Formats a number with its sign: `+0.123`, `−0.045`. */
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;

/** Invisible characters and those that change the layout: control, bidirectional, tags. */
const UNSEEN =
  /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}])/u;

/** Turns a text into nodes that show such characters as inert numbers. */
export function plain(text) {
  return text.split(UNSEEN).map((part, at) => {
    if (at % 2 === 0) return part;
    const code = part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return make("span", { class: "unseen-character" }, `U+${code}`);
  });
}

/** How many characters the browser lays out without a pause. */
const LONG = 20_000;

/** Shows a text; of a very long one the beginning, with a button for more. */
export function prose(text, kind = "") {
  const box = make("p", { class: `text ${kind}`, dir: "auto" });
  let shown = 0;
  const more = make("button", { type: "button", class: "more", onclick: () => show() });
  const show = () => {
    let end = Math.min(text.length, shown + LONG);
    // Not between the halves of a surrogate pair.
    if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) end -= 1;
    more.remove();
    box.append(...plain(text.slice(shown, end)));
    shown = end;
    if (shown < text.length) {
      more.textContent = `Show more: ${grouped(shown)} of ${counted(text.length, "character")}`;
      box.append(more);
    }
  };
  show();
  return box;
}

/** Shows short facts in a row. */
export const facts = (...all) =>
  make("p", { class: "facts" }, all.flat().filter(Boolean).map((fact) => (fact.nodeType ? fact : make("span", {}, plain(String(fact))))));

/** Who changed a task last, to begin a sentence with. */
export const by = (task) => task.changed_by ?? "Somebody else";

/** What a message offers, by its key. */
const OFFERS = { u: "Undo", U: "Redo" };

/** Shows a message to everybody, screen readers included. It disappears by itself, but not under the pointer or with the
    focus. `key` is that of an action to offer beside it. */
export function say(message, lasting = false, key = null) {
  const status = $("status");
  status.replaceChildren(message);
  if (key) {
    status.append(" ", make("button", { type: "button", "data-key": key }, OFFERS[key], " ",
      make("kbd", { "aria-hidden": "true" }, key === "U" ? "Shift U" : key)));
  }
  status.classList.add("shown");
  const leave = () => {
    if (status.matches(":hover, :focus-within")) say.timer = setTimeout(leave, 1000);
    else status.classList.remove("shown");
  };
  clearTimeout(say.timer);
  if (!lasting) say.timer = setTimeout(leave, key ? 10_000 : 6000);
}
