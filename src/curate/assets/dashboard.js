// The dashboard. The server renders the charts and escapes their texts; the page's content security
// policy lets no script in them run.

import { counted, grouped, make } from "./element.js";

export function dashboard({ figures, charts }) {
  const grid = make("div", { class: "charts" });
  for (const chart of charts) {
    const figure = new DOMParser().parseFromString(chart.figure, "application/xhtml+xml").documentElement;
    grid.append(document.adoptNode(figure));
    if (figure.id === "chart-reasons") link(figure);
  }
  const { dataset, requests, candidates } = figures;
  const lead = [`${counted(dataset.tasks, "task")} with ${counted(dataset.examples, "example")}`];
  if (candidates.parsed) lead.push(`${counted(candidates.parsed, "candidate")} parsed, ${grouped(candidates.rejected)} of them rejected`);
  const tokens = requests.prompt_tokens + requests.completion_tokens;
  if (requests.requests) lead.push(`${counted(requests.requests, "request")}, ${counted(tokens, "token")}`);
  return [make("h2", { class: "lead" }, lead.join(" · ")), make("p", { id: "filtered", class: "facts" }, "Charts and figures are of all tasks, whatever the filter."), grid];
}

/** The list of the candidates that a reason threw away. */
const address = (reason) => `#${["candidates", reason && new URLSearchParams({ rule: reason })].filter(Boolean).join("&")}`;

/** Makes each reason of the chart a link: in its table, and each bar with its label. */
function link(figure) {
  const heads = [...figure.querySelectorAll("tbody th")];
  const reasons = heads.map((head) => (head.textContent === "other reasons" ? "" : head.textContent));
  heads.forEach((head, at) => {
    const { textContent: label } = head;
    head.replaceChildren(make("a", { href: address(reasons[at]) }, label));
  });
  const svg = figure.querySelector("svg");
  // A bar begins with its label, the only text that ends at the bars.
  let bar = null, next = 0;
  for (const node of [...svg.children]) {
    if (node.matches('text.label[text-anchor="end"]') && next < reasons.length) {
      bar = document.createElementNS("http://www.w3.org/2000/svg", "a");
      bar.setAttribute("href", address(reasons[next]));
      bar.setAttribute("aria-label", `Candidates: ${heads[next].textContent}`);
      next += 1;
      svg.insertBefore(bar, node);
    }
    bar?.append(node);
  }
  // A picture has no links for screen readers; a group has.
  svg.setAttribute("role", "group");
}
