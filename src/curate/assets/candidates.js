// Rejected candidates: what the rules threw away, and why. A rescue makes a task of one.

import { $, counted, facts, grouped, make, plain, say } from "./element.js";
import { titled } from "./reading.js";
import { call } from "./server.js";
import { keyed, linked, shared } from "./task.js";

const PAGE = 50;

const form = $("candidates-filter");

/** The rows so far, whether they are all, the place of the open one, and it. `over` aborts requests for another list. */
const list = { rows: [], isWhole: true, at: 0, open: null, counts: null, over: new AbortController() };

const value = (name) => form.elements.namedItem(name).value.trim();

/** The filter as the server takes it. */
function filter() {
  // Instances that fell with their instruction are shown with it.
  const chosen = { alone: !value("rescued") };
  if (value("rule")) chosen.reason = value("rule");
  if (value("run")) chosen.run_id = Number(value("run"));
  if (value("words")) chosen.text = value("words");
  if (value("rescued")) chosen.rescued = value("rescued") === "yes";
  return chosen;
}

/** What the address says of this view. */
export function view() {
  const kept = new URLSearchParams();
  for (const name of ["rule", "run", "words", "rescued"]) if (value(name)) kept.set(name, value(name));
  if (list.open) kept.set("candidate", list.open.id);
  return ["candidates", String(kept)].filter(Boolean).join("&");
}

/** Sets the form from the address. Returns the candidate that it names. */
export function recallCandidates(kept) {
  for (const name of ["rule", "run", "words", "rescued"]) {
    const field = form.elements.namedItem(name);
    const given = kept.get(name) ?? "";
    if (field.options && ![...field.options].some((option) => option.value === given)) field.add(new Option(given, given));
    field.value = given;
  }
  return Number(kept.get("candidate")) || null;
}

/** Offers the runs of the dataset. */
export function offerRuns(runs) {
  const field = form.elements.namedItem("run");
  const chosen = field.value;
  const isKnown = !chosen || runs.some((run) => String(run.id) === chosen);
  field.replaceChildren(field.options[0], ...runs.map((run) => new Option(`${run.id}: ${run.command}${run.model ? ` (${run.model})` : ""}`, run.id)), ...(isKnown ? [] : [new Option(chosen, chosen)]));
  field.value = chosen;
}

async function ask(from = {}) {
  const { signal } = list.over;
  const query = new URLSearchParams({ filter: JSON.stringify(filter()), limit: PAGE, ...from });
  try {
    return await call(`/api/candidates?${query}`, undefined, signal);
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

/** Loads the list and opens the candidate `keep`, wherever it is, or the first one. Returns false if another list was requested. */
export async function loadCandidates(keep) {
  list.over.abort();
  list.over = new AbortController();
  const part = await ask();
  if (!part) return false;
  const { candidates: rows, whole } = part;
  let at = Math.max(0, rows.findIndex((row) => row.id === keep));
  if (keep != null && rows[at]?.id !== keep) {
    const one = await call(`/api/candidates/${keep}`).catch((error) => { if (error.status !== 404) throw error; });
    // A link may name one beyond the first page.
    if (one) { rows.unshift({ ...one, isApart: true }); at = 0; } else say(`There is no rejected candidate ${keep}.`, true);
  }
  Object.assign(list, { rows, isWhole: whole, at });
  await openCandidate();
  countCandidates().catch((error) => say(error.message, true));
  return true;
}

async function countCandidates() {
  const { signal } = list.over;
  const query = new URLSearchParams({ filter: JSON.stringify(filter()) });
  const counts = await call(`/api/candidates/counts?${query}`, undefined, signal).catch((error) => { if (!signal.aborted) throw error; });
  if (!counts) return;
  const { passing, reasons, most } = counts;
  const about = (count) => `${grouped(count)}${count >= most ? "+" : ""}`;
  const fallen = filter().alone && !value("rule") && !value("run") && !value("words") && reasons.find((of) => of.reason === "instruction_rejected");
  $("candidates-count").textContent = `${about(passing)} ${passing === 1 ? "candidate" : "candidates"}` +
    (fallen ? `, and ${about(fallen.candidates)} ${fallen.candidates === 1 ? "instance" : "instances"} that fell with their instruction` : "");
  const field = form.elements.namedItem("rule");
  const chosen = field.value;
  field.replaceChildren(field.options[0], ...reasons.map((of) => new Option(`${of.reason} (${about(of.candidates)})`, of.reason)));
  if (chosen && !reasons.some((of) => of.reason === chosen)) field.add(new Option(chosen, chosen));
  field.value = chosen;
}

export async function moreCandidates() {
  const last = list.rows.filter((row) => !row.isApart).at(-1)?.id;
  const part = await ask(last === undefined ? {} : { before: last });
  if (!part) return;
  const known = new Set(list.rows.map((row) => row.id));
  list.rows.push(...part.candidates.filter((row) => !known.has(row.id)));
  list.isWhole = part.whole;
  draw();
}

async function openCandidate() {
  const row = list.rows[list.at];
  const one = row ? await call(`/api/candidates/${row.id}`) : null;
  if (list.rows[list.at] !== row) return;
  list.open = one;
  if (row) row.rescued_as = one.rescued_as;
  draw();
}

/** Goes on in the list. */
export async function stepCandidates(by) {
  if (list.at + by >= list.rows.length && !list.isWhole) await moreCandidates();
  const to = list.at + by;
  if (to < 0 || to >= list.rows.length) return say(to < 0 ? "That is the first one." : "That was the last one.");
  list.at = to;
  await openCandidate();
  $("candidate").scrollTo({ top: 0 });
}

/** Makes a task of the open candidate. Returns the action, or null. */
export async function rescue() {
  const { open } = list;
  if (!open) return null;
  const { change, tasks } = await call("/api/candidates/rescue", { ids: [open.id] });
  await openCandidate();
  if (change) say(`Rescued: task ${tasks[0]} is pending.`, false, "u");
  else say(`It is task ${tasks[0]} already.`);
  return change && { group: change.group, task: tasks[0] };
}

/** Shows the open candidate as it is now: after an undo, or a change by others. */
export const refreshCandidate = () => openCandidate();

/** What the buttons of the open candidate do; set by the page. */
export const act = { rescue: () => {}, opened: () => {} };

function draw() {
  const lines = list.rows.map((row, at) => make("li", {}, make("button", { type: "button", "aria-current": String(at === list.at), tabindex: at === list.at ? 0 : -1,
    onclick: () => { list.at = at; act.opened(openCandidate()); } },
  make("span", { class: "title", dir: "auto" }, plain((row.kind === "instance" ? row.output : row.instruction) || "(no text)")),
  make("span", { class: "facts" }, make("span", { class: row.rescued_as ? "accepted" : "rejected" }, plain(row.reason)),
    make("span", {}, `${row.kind} ${row.id}`), row.rescued_as && make("span", { class: "accepted" }, `task ${row.rescued_as}`)))));
  const focused = $("rejected").contains(document.activeElement);
  $("rejected").replaceChildren(...lines);
  $("more-candidates").hidden = list.isWhole;
  const here = $("rejected").querySelector("[aria-current=true]");
  here?.scrollIntoView({ block: "nearest" });
  if (focused) here?.focus({ preventScroll: true });
  $("candidate").replaceChildren(...(list.open ? reading(list.open) : [make("p", {}, "No candidate was rejected like this.")]));
  document.dispatchEvent(new Event("candidate"));
}

/** The verdict in words. */
const verdict = ({ reason, about, detail }) => make("p", { class: "verdict" }, make("strong", { class: "rejected" }, plain(reason)),
  about && `: ${about}`, detail && [make("br"), make("span", { class: "found" }, plain(detail))]);

function reading(one) {
  const parts = [
    facts(`candidate ${one.id}`, one.kind, `run ${one.run_id}`, `round ${one.round}`, `request ${one.request_id}`),
    make("div", { class: "actions" },
      one.rescued_as ? [make("span", { class: "accepted" }, "Rescued: "), linked(one.rescued_as)] : keyed("Rescue: make it a task", "s", act.rescue)),
    verdict(one),
    titled("Instruction", one.instruction, { kind: "instruction", key: `candidate ${one.id}` }),
  ];
  if (one.kind === "instance") parts.push(...texts(one, one.id));
  for (const instance of one.instances) {
    parts.push(make("section", { class: "instance", "aria-label": `Instance ${instance.id}` }, instance.reason !== "instruction_rejected" && verdict(instance),
      !one.takes.includes(instance.id) && make("p", { class: "state" }, "Rescue leaves it out."), texts(instance, instance.id)));
  }
  if (one.kind === "instruction" && !one.instances.length) parts.push(make("p", { class: "state" }, "No output was asked for. Rescue makes a task with an empty one, for you to write."));
  if (one.nearest_task_id && one.nearest != null) {
    parts.push(make("section", { class: "near", "aria-label": "Nearest task" }, make("h2", {}, "Nearest task"),
      facts(one.rouge_l != null && `ROUGE-L ${one.rouge_l.toFixed(2)}`, linked(one.nearest_task_id), "words of both are marked"),
      shared(one.instruction, one.nearest)));
  }
  return parts.flat();
}

const texts = (of, key) => [of.input ? titled("Input", of.input, { key: `candidate ${key} input` }) : [], titled("Output", of.output ?? "", { key: `candidate ${key} output` })].flat();
