// One action after the other, however quickly keys are pressed and however slowly the server answers.

import { say } from "./element.js";

let chain = Promise.resolve();
/** Actions that are not over yet. */
let unfinished = 0;
/** What is loaded beside the queue of actions, which waits for it; calls that end it. */
let loading = null, loaded = () => {};

/** Tells that the page is at work: to screen readers, which then wait with what they read, and to tests. */
function count(by) {
  unfinished += by;
  document.querySelector("main").setAttribute("aria-busy", String(unfinished > 0));
}

async function settled() {
  for (let last; last !== loading;) await (last = loading);
}

/** Makes an action wait for those before it, and show its error. */
export const run = (action) => (...given) => {
  count(1);
  chain = chain.then(settled).then(() => action(...given)).catch((error) => say(error.message, true)).finally(() => count(-1));
  return chain;
};

/** Starts `action` after `pause` milliseconds. A later call overtakes it, and actions wait for the last one: a key that
    is pressed after a choice is for the chosen list. */
export function overtake(action, pause) {
  loaded();
  count(1);
  let timer;
  loading = new Promise((resolve) => {
    let isOver = false;
    loaded = () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      count(-1);
      resolve();
    };
    const mine = loaded;
    timer = setTimeout(() => action().catch((error) => say(error.message, true)).finally(mine), pause);
  });
}
