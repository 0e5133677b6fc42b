// Shows one task.

import { asText, firstAnswer, laidOut, parted, texts as laterTexts, thought } from "./conversation.js";
import { differences } from "./difference.js";
import { $, counted, facts, grouped, make, plain, prose, signed } from "./element.js";
import { fieldsOf } from "./fields.js";
import { address } from "./filter.js";
import { passages } from "./passage.js";
import { compared as marks, look, titled } from "./reading.js";
import { call } from "./server.js";
import { isOwn, teamOf } from "./team.js";

/** From this ROUGE-L on, a neighbor is worth a look. */
const ALIKE = 0.4;

/** Makes a button that names its key. While a field has the focus, where the key is a letter, one that comes up there also
    names the key that leaves the field. */
export const keyed = (label, key, run, isInField = false) =>
  make("button", { type: "button", onclick: run, "aria-keyshortcuts": key }, label, " ",
    isInField && [make("kbd", { "aria-hidden": "true", class: "leave" }, "Esc"), " "], make("kbd", { "aria-hidden": "true" }, key));

/** Makes a button that stays pressed. */
export function switched(label, key, isPressed, run) {
  const button = keyed(label, key, run);
  button.setAttribute("aria-pressed", String(isPressed));
  return button;
}

/** Makes a link that opens a task within the filter. */
export const linked = (id, label = `task ${id}`) => make("a", { href: address(id) }, label);

/** Summarizes the task in one line. */
export const headline = (task) => facts(
  make("span", { class: task.review }, task.review), `${task.origin} task ${task.id}`, task.name, task.source_id,
  task.is_classification && "classification", task.is_held_out && "held out", task.run_id != null && `run ${task.run_id}`, task.round != null && `round ${task.round}`,
  task.evolution && (task.evolution.operator === "continue"
    ? `continues task ${task.evolution.parent_task_id}`
    : `made of task ${task.evolution.parent_task_id}: ${task.evolution.operator}`));

/** Shows a task; `act` has a function for each button. */
export function reading(task, act) {
  const parts = [
    headline(task),
    make("div", { class: "actions" }, keyed("Accept", "a", act.accept), keyed("Reject", "r", act.reject),
      isOwn(task) && keyed("Unsure", "t", act.unsure), keyed("Edit", "e", act.edit),
      switched("Rendered", "v", look.isRendered, act.look)),
    ...act.aside,
    ...fieldsOf(task, act.label),
    task.system && titled("System", task.system, { key: `${task.id} system` }),
    titled("Instruction", task.instruction, { kind: "instruction", key: `${task.id} instruction` }),
  ].flat();
  for (const instance of task.instances) {
    const key = `${task.id} ${instance.ordinal}`;
    parts.push(make("section", { class: "instance", "aria-label": `Instance ${instance.ordinal + 1}` },
      instance.input && titled("Input", instance.input, { key: `${key} input` }),
      ...output(instance, key),
      laidOut(instance, key, act.removeTurn),
      make("p", {}, make("button", { class: "add-turn", onclick: () => act.addTurn(instance.ordinal) }, "Add a turn")),
      instance.extra && [make("h2", {}, "Other fields"), prose(instance.extra, "raw")],
      task.judgments.filter((judgment) => judgment.ordinal === instance.ordinal && judgment.holds).map(opinion),
      task.validations.filter((validation) => validation.ordinal === instance.ordinal).map(validated),
      task.figures.filter((figures) => figures.ordinal === instance.ordinal).map(effect)));
  }
  if (task.influenced_by.length) parts.push(make("div", { class: "effect" }, bothWays("Tasks that helped it", "Tasks that hurt it", task.influenced_by)));
  if (!task.instances.length) parts.push(make("p", {}, "It has no instance yet, so it is not in the dataset."));
  parts.push(...teamOf(task, keyed("Comment", "m", act.comment)), ...passages(task), trail(task));
  return parts;
}

/** Shows the output, with its reasoning folded above it. */
function output(instance, key) {
  const { reasoning, content } = parted(firstAnswer(instance));
  return [thought(reasoning), titled("Output", content, { key: `${key} output` })];
}

const opinion = (judgment) => make("p", { class: "opinion" },
  make("strong", {}, judgment.score == null ? "no score" : `${judgment.expected == null ? judgment.score : judgment.expected.toFixed(2)} of 5`), " by ", plain(judgment.model), ": ",
  judgment.criteria
    ? make("ul", {}, judgment.criteria.map((of) => make("li", {}, plain(of.criterion), ` ${of.score} of ${of.highest}`, of.reason && ": ", of.reason && plain(of.reason))))
    : plain(judgment.problem ?? judgment.reason));

const validated = ({ accepted, validator, reason }) => make("p", { class: "opinion" },
  make("strong", {}, accepted ? "accepted" : "rejected"), " by ", plain(validator), reason && ": ", reason && plain(reason));

/** Shows what an instance did to the held-out loss, with the held-out tasks that it speaks to, and how difficult it is. */
const effect = ({ influence, ifd, on }) => make("div", { class: "effect" },
  facts(influence != null && `${influence < 0 ? "hurt" : "helped"}: influence ${signed(influence)}`, ifd != null && `difficulty: IFD ${ifd.toFixed(2)}`),
  bothWays("Held-out tasks that it helped", "Held-out tasks that it hurt", on));

/** Lists tasks by the sign of their influence, the strongest first. */
function bothWays(helped, hurt, tasks) {
  const list = (name, some) => (some.length ? [make("h3", {}, name), make("ol", { class: "on" }, some.map((of) => make("li", {},
    make("span", { class: "number" }, signed(of.value)), " ", make("span", { class: "title", dir: "auto" }, `task ${of.task_id}: `, plain(of.instruction)))))] : []);
  return [...list(helped, tasks.filter((of) => of.value > 0)), ...list(hurt, tasks.filter((of) => of.value < 0).reverse())];
}

/** Shows its origin and history, which are loaded when they are opened. */
function trail(task) {
  const box = make("details", { id: "trail" }, make("summary", {}, "Where it came from, and its history ", make("kbd", { "aria-hidden": "true" }, "p")));
  box.addEventListener("toggle", async () => {
    if (!box.open || box.children.length > 1) return;
    try {
      const { source, provenance, history } = await call(`/api/tasks/${task.id}/trail`);
      box.append(...origin(source, provenance), ...changes(history));
    } catch (error) {
      box.append(make("p", {}, error.message));
    }
  });
  return box;
}

function origin(source, calls) {
  if (!calls.length && source) return [make("p", {}, ...plain(`${source.file}${rows(source)}`))];
  if (!calls.length) return [make("p", {}, "No model was asked for it.")];
  return calls.flatMap((call) => [
    facts(`request ${call.request_id}`, call.stage, call.model, `${grouped(call.prompt_tokens)} + ${counted(call.completion_tokens, "token")}`, call.finish_reason),
    make("h3", {}, "Prompt"), prose(call.prompt, "raw"), make("h3", {}, "Response"), prose(call.response, "raw")]);
}

const rows = ({ first_row: first, last_row: last }) => (first === null ? "" : first < last ? `, rows ${first} to ${last}` : `, row ${first}`);

/** Shows its actions, the latest first. The last save of an editing session says everything. */
function changes(history) {
  const last = new Map(history.map((change) => [`${change.group} ${change.instance_id} ${change.field}`, change]));
  const rows = [...last.values()].reverse().slice(0, 100);
  if (!rows.length) return [make("p", {}, "Nobody has changed it.")];
  return [make("h3", {}, "History"), ...rows.flatMap((change) => [
    facts(change.at.slice(0, 19).replace("T", " "), change.who, `${change.action}${change.undoes ? ` of action ${change.undoes}` : ""}`, change.note),
    ...(["import", "rescue"].includes(change.action) ? [] : change.field ? [labels(change)] : compared(JSON.parse(change.before), JSON.parse(change.after)))])];
}

/** Shows the values of a field, before and after. */
function labels({ field, before, after }) {
  const [was, is] = [before, after].map((side) => JSON.parse(side).values.join(", ") || "none");
  return make("p", { class: "text" }, plain(`${field}: ${was} → ${is}`));
}

/** Shows changed columns: texts side by side, words and numbers (some changed by SQL) in a line. */
const compared = (before, after) => Object.keys(after).map((column) =>
  column === "turns"
    ? make("div", { class: "both" }, side("turns before", asText(after.turns), asText(before.turns)), side("after", asText(before.turns), asText(after.turns)))
    : ["instruction", "input", "output"].includes(column)
    ? make("div", { class: "both" }, side(`${column} before`, after[column], before[column]), side("after", before[column], after[column]))
    : make("p", { class: "text" }, plain(`${column}: ${before[column] ?? "none"} → ${after[column] ?? "none"}`)));

const side = (label, ours, theirs) => make("div", {}, make("h3", {}, label), marked(ours, theirs));

/** How much of two texts is compared. */
const COMPARED = 20_000;

/** Shows `theirs`, with the words marked that `ours` does not have there. */
const marked = (ours, theirs) => marks(differences(ours.slice(0, COMPARED), theirs.slice(0, COMPARED)), theirs.length, false);

/** Shows `theirs`, with the words marked that both have. */
export const shared = (ours, theirs) => marks(differences(ours.slice(0, COMPARED), theirs.slice(0, COMPARED)), theirs.length, true);

/** Shows the difference between a task as it was seen and as it is now. */
export function versions(seen, now) {
  const texts = (task) => ({ review: task.review, instruction: task.instruction,
    ...Object.fromEntries(task.instances.flatMap((instance) => [[`input ${instance.ordinal + 1}`, instance.input], [`output ${instance.ordinal + 1}`, instance.output], ...laterTexts(instance)])) });
  const [before, after] = [texts(seen), texts(now)];
  return Object.keys(after).filter((name) => before[name] !== after[name]).map((name) => make("div", { class: "both" },
    side(`${name}, as you had it`, after[name], before[name] ?? ""), side("as it is now", before[name] ?? "", after[name])));
}

/** Shows the most similar tasks, with the words marked that this task has, too. `compare` opens one beside the task. */
export function beside(task, compare) {
  const title = make("h2", {}, "Most similar");
  if (!task.neighbors.length) return [title, facts("Nothing was compared with it.")];
  const near = (of) => make("section", { class: "near", "aria-label": `Task ${of.id}` },
    facts(`ROUGE-L ${of.rouge_l.toFixed(2)}`, linked(of.id), make("span", { class: of.review }, of.review)),
    shared(task.instruction, of.instruction),
    make("button", { type: "button", class: "quiet", onclick: () => compare(of.id) }, "Side by side"));
  const [close, others] = [task.neighbors.filter((of) => of.rouge_l >= ALIKE), task.neighbors.filter((of) => of.rouge_l < ALIKE)];
  const rest = others.length > 0 && make("details", { class: "others" },
    make("summary", {}, `${close.length ? `${grouped(others.length)} more` : counted(others.length, "task")} below ${ALIKE.toFixed(2)}`), others.map(near));
  return [title, ...close.map(near), rest].filter(Boolean);
}

/** Shows a task and another one side by side, with the words marked that both have. */
export function sideBySide(task, other, act) {
  const texts = (of) => [["Instruction", of.instruction], ...of.instances.flatMap(({ ordinal, input, output }) => {
    const number = of.instances.length > 1 ? ` ${ordinal + 1}` : "";
    return [[`Input${number}`, input], [`Output${number}`, output]];
  })];
  const [ours, theirs] = [new Map(texts(task)), new Map(texts(other))];
  const rows = [...new Set([...ours.keys(), ...theirs.keys()])].filter((name) => ours.get(name) || theirs.get(name));
  return make("section", { id: "side-by-side", "aria-label": `Task ${task.id} beside task ${other.id}` },
    facts(`This task and`, linked(other.id), make("span", { class: other.review }, other.review), "words of both are marked"),
    make("div", { class: "actions" }, keyed("Next", "n", act.next), make("button", { type: "button", onclick: act.close }, "Close")),
    rows.map((name) => make("div", { class: "both" },
      make("div", {}, make("h3", {}, name), shared(theirs.get(name) ?? "", ours.get(name) ?? "")),
      make("div", {}, make("h3", {}, `${name} of task ${other.id}`), shared(ours.get(name) ?? "", theirs.get(name) ?? "")))));
}

export function toggleTrail() {
  const box = $("trail");
  if (box) box.open = !box.open;
}
