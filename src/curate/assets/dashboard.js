// The dashboard. The charts are figures by the server, which escapes what is in them; the policy of the page lets no script run.

import { make } from "./element.js";

export function dashboard({ figures, charts }) {
  const grid = make("div", { class: "charts" });
  for (const chart of charts) {
    const figure = new DOMParser().parseFromString(chart.figure, "application/xhtml+xml").documentElement;
    grid.append(document.adoptNode(figure));
  }
  const { dataset, requests, candidates } = figures;
  const number = (count) => count.toLocaleString("en");
  const lead = [`${number(dataset.tasks)} tasks with ${number(dataset.examples)} examples`];
  if (candidates.parsed) lead.push(`${number(candidates.parsed)} candidates parsed, ${number(candidates.rejected)} of them rejected`);
  if (requests.requests) lead.push(`${number(requests.requests)} requests, ${number(requests.prompt_tokens + requests.completion_tokens)} tokens`);
  return [make("h2", { class: "lead" }, lead.join(" · ")), grid];
}
