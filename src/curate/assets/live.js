// Notices what others do to the file: another window, another program, `ewe generate` at work.

import { say } from "./element.js";
import { call } from "./server.js";

const EVERY = 1000;

/** Calls `changed` after each commit to the file, once for many, and waits for it. */
export async function live(changed) {
  let known = null, lost = false;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    // Nobody looks; the first look afterwards will see.
    if (document.hidden) continue;
    try {
      const { commits } = await call("/api/news");
      if (lost) say("ewe curate answers again.");
      lost = false;
      if (known !== null && commits !== known) await changed();
      known = commits;
    } catch (error) {
      if (error.status === 0 && !lost) say(error.message, true);
      lost = error.status === 0;
    }
  }
}
