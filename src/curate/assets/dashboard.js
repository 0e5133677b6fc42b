// The dashboard. The server renders the charts and escapes their texts; the page's content security
// policy lets no script in them run.

import { counted, grouped, make } from "./element.js";

export function dashboard({ figures, charts }) {
  const grid = make("div", { class: "charts" });
  for (const chart of charts) {
    const figure = new DOMParser().parseFromString(chart.figure, "application/xhtml+xml").documentElement;
    grid.append(document.adoptNode(figure));
  }
  const { dataset, requests, candidates } = figures;
  const lead = [`${counted(dataset.tasks, "task")} with ${counted(dataset.examples, "example")}`];
  if (candidates.parsed) lead.push(`${counted(candidates.parsed, "candidate")} parsed, ${grouped(candidates.rejected)} of them rejected`);
  const tokens = requests.prompt_tokens + requests.completion_tokens;
  if (requests.requests) lead.push(`${counted(requests.requests, "request")}, ${counted(tokens, "token")}`);
  return [make("h2", { class: "lead" }, lead.join(" · ")), make("p", { id: "filtered", class: "facts" }, "Charts and figures are of all tasks, whatever the filter."), grid];
}
