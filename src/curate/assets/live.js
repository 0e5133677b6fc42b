// Notices what others do to the file: another window, another program, `ewe generate` at work.

import { say } from "./element.js";
import { call } from "./server.js";

const EVERY = 1000;

/** How many commits to the file there have been; null where nobody says. */
export const commits = () => call("/api/news").then((news) => news.commits, () => null);

/** Calls `changed` after each commit to the file beyond the `known` ones, once for many, and waits for it. */
export async function live(changed, known) {
  let lost = false;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    // Nobody looks; the first look afterwards will see.
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
