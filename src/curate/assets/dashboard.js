// The dashboard. The server renders the charts and escapes their texts; the page's content security
// policy lets no script in them run.

import { $, counted, facts, grouped, make } from "./element.js";
import { call } from "./server.js";

export function dashboard({ figures, charts }, { runs }) {
  const grid = make("div", { class: "charts" }, charts.map(drawn));
  const { dataset, requests, candidates } = figures;
  const says = [`${counted(dataset.tasks, "task")} with ${counted(dataset.examples, "example")}`];
  if (candidates.parsed) says.push(`${counted(candidates.parsed, "candidate")} parsed, ${grouped(candidates.rejected)} of them rejected${candidates.fell_with_instruction ? ` and ${grouped(candidates.fell_with_instruction)} with their instruction` : ""}`);
  if (candidates.rescued) says.push(make("a", { href: "#candidates&rescued=yes" }, `${counted(candidates.rescued, "task")} rescued`));
  const tokens = requests.prompt_tokens + requests.completion_tokens;
  if (requests.requests) says.push(`${counted(requests.requests, "request")}, ${counted(tokens, "token")}`);
  return [make("h2", { class: "lead" }, says.flatMap((part, at) => (at ? [" · ", part] : [part]))), make("p", { id: "filtered", class: "facts" }, "Charts and figures are of all tasks, whatever the filter."), grid, make("section", { id: "training", "aria-label": "Training runs" }, training(runs))];
}

/** A chart as the page shows it. */
function drawn(chart) {
  const figure = document.adoptNode(new DOMParser().parseFromString(chart.figure, "application/xhtml+xml").documentElement);
  if (figure.id === "chart-reasons") link(figure);
  lead(figure);
  return figure;
}

/** The training runs with their curves, the latest first. */
export function training(runs) {
  if (!runs.length) return [];
  return [make("h2", {}, "Training runs"), ...runs.map((run) => make("section", { class: "run", "aria-label": `Run ${run.id}` },
    make("h3", {}, `Run ${run.id}: ${run.model}`),
    facts(make("span", { class: run.status === "running" ? "pending" : "" }, run.status), run.started_at, run.rows && `on ${run.rows}`, run.steps && counted(run.steps, "step"), run.outcome),
    make("div", { class: "charts" }, run.charts.map(drawn))))];
}

/** How long to wait between looks at a run that is at work, in milliseconds. */
const PAUSE = 3000;
let timer;

/** Draws the curves anew while a run is at work and the dashboard is open: training writes to a folder of its own, of which
    the dataset has no news. */
export function watchTraining(runs) {
  clearTimeout(timer);
  if (!runs.some((run) => run.status === "running")) return;
  timer = setTimeout(async () => {
    if ($("dashboard").hidden) return;
    // What fails is tried again.
    const now = await call("/api/training").then((answer) => answer.runs, () => runs);
    if (JSON.stringify(now) !== JSON.stringify(runs)) $("training")?.replaceChildren(...training(now));
    watchTraining(now);
  }, PAUSE);
}

/** Makes links of the parts of a chart that lead to tasks. */
function lead(figure) {
  const parts = figure.querySelectorAll("[data-to]");
  for (const part of parts) {
    const to = document.createElementNS("http://www.w3.org/2000/svg", "a");
    to.setAttribute("href", `#${part.dataset.to}`);
    to.setAttribute("aria-label", part.dataset.says);
    part.replaceWith(to);
    to.append(...part.childNodes);
  }
  // A picture has no links for screen readers; a group has.
  if (parts.length) figure.querySelector("svg").setAttribute("role", "group");
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
      next += 1;
      svg.insertBefore(bar, node);
    }
    bar?.append(node);
  }
  // A picture has no links for screen readers; a group has.
  svg.setAttribute("role", "group");
}
