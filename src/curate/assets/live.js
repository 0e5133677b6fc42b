// Notices changes by others: another window, another program, a running `ewe generate`.

import { say } from "./element.js";
import { call } from "./server.js";

const EVERY = 1000;

/** Asks for the number of commits; null without an answer. */
export const commits = () => call("/api/news").then((news) => news.commits, () => null);

/** Calls `changed` after commits beyond the `known` ones, once for many, and waits for it. */
export async function live(changed, known) {
  let lost = false;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    // The page is hidden; it is checked when it is shown again.
    if (document.hidden) continue;
    try {
      const { commits: now } = await call("/api/news");
      if (lost) say("ewe curate answers again.");
      lost = false;
      if (known !== null && now !== known) await changed();
      known = now;
    } catch (error) {
      if (error.status === 0 && !lost) say(error.message, true);
      lost = error.status === 0;
    }
  }
}
