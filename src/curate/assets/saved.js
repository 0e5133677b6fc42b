// Filters that were saved under a name, in this browser.

import { $, make } from "./element.js";
import { address } from "./filter.js";

const KEY = "filters";

/** Names and addresses. What is stored may be anything. */
function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.entries(found).filter(([, where]) => typeof where === "string" && where.startsWith("#"));
  } catch {
    return [];
  }
}

const store = (all) => localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(all)));

/** Lists the saved filters; each is a link. */
export function showSaved() {
  const all = stored();
  $("saved").hidden = all.length === 0;
  $("saved-list").replaceChildren(...all.map(([name, where]) => make("li", {}, make("a", { href: where }, name),
    make("button", { type: "button", class: "quiet", "aria-label": `Forget the filter ${name}`, onclick: () => { store(stored().filter(([other]) => other !== name)); showSaved(); } }, "×"))));
}

/** Saves the present filter under a name, in place of one that has it. */
export function saveFilter(name) {
  store([...stored().filter(([other]) => other !== name), [name, address(null)]]);
  showSaved();
}
