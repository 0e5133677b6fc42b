// Fields that people added: beside the task, where they are edited, and in the filter.

import { $, grouped, make, say } from "./element.js";
import { call } from "./server.js";
import { did } from "./undo.js";

/** From so many choices on, a list takes less room than buttons. */
const BUTTONS = 9;

/** Returns the choices of a field as they are shown and typed; none for what is typed freely. */
const choicesOf = (field) => (field.type === "flag" ? ["yes", "no"] : field.choices ?? []);

/** Shows all fields of a task; `set` has the name of one and its new value. */
export function fieldsOf(task, set) {
  if (!task.fields.length) return [];
  return [make("section", { id: "fields", "aria-label": "Fields" }, task.fields.map((field) => row(task, field, set)))];
}

function row(task, field, set) {
  const choices = choicesOf(field);
  const name = make("span", { class: "name", dir: "auto" }, field.name, field.key && [" ", make("kbd", { "aria-hidden": "true" }, field.key)]);
  if (choices.length && choices.length <= BUTTONS) {
    const keys = (at) => (field.key ? `${field.key} ${at + 1}` : null);
    return make("div", { class: "field", role: "group", "aria-label": field.name, "data-field": field.name, "data-key": field.key }, name,
      choices.map((choice, at) => make("button", { type: "button", "data-choice": at + 1, "aria-pressed": String(field.shown === choice), "aria-keyshortcuts": keys(at),
        onclick: () => set(field.name, field.shown === choice ? "" : choice) }, choice)));
  }
  const id = `field-of-task-${task.fields.indexOf(field)}`;
  const input = choices.length
    ? make("select", { id }, make("option", { value: "" }, "none"), choices.map((choice) => make("option", { value: choice, selected: field.shown === choice }, choice)))
    : make("input", { id, autocomplete: "off", dir: "auto", value: field.shown, inputmode: field.type === "number" ? "decimal" : null,
      placeholder: { number: "a number", tags: "tags, with commas" }[field.type] ?? null, list: field.type === "number" ? null : `values of ${field.name}` });
  input.addEventListener("change", () => { if (input.value !== field.shown) set(field.name, input.value); });
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") $("task").focus(); });
  return make("label", { class: "field", "data-field": field.name, "data-key": field.key, for: id }, name, input);
}

/** Puts the focus on the field with this key, or on the first one. Returns whether there is one. */
export function focusField(key) {
  const all = [...document.querySelectorAll("#fields .field")];
  const field = key ? all.find((one) => one.dataset.key === key) : all[0];
  const target = field?.querySelector("[aria-pressed=true]") ?? field?.querySelector("button, input, select");
  target?.focus();
  if (target?.select) target.select();
  return Boolean(target);
}

/** Presses the choice with this number of the field that has the focus. Returns whether there is one. */
export function pressChoice(digit) {
  const button = document.activeElement?.closest("#fields [data-field]")?.querySelector(`[data-choice="${digit}"]`);
  button?.click();
  return Boolean(button);
}

/** Whether the dataset has fields. */
let hasFields = false;

/** Counts the values of the fields among the tasks of the `query` with a filter. */
export async function fieldCounts(query, signal) {
  if (!hasFields) return;
  const answer = await call(`/api/fields?${query}`, undefined, signal);
  if (!signal.aborted) offerFields(answer);
}

/** Offers the fields in the filter, as lists of their values with how many tasks have each, and among the orders. */
export function offerFields({ fields }) {
  hasFields = fields.length > 0;
  const box = $("field-filters");
  const form = $("filter");
  const orders = form.elements.namedItem("sort");
  const now = new Set(fields.map((field) => `field.${field.name}`));
  for (const gone of [...box.querySelectorAll("[name]")].filter((one) => !now.has(one.name) && !one.value)) gone.closest("label").remove();
  for (const field of fields) {
    const input = filterField(field.name);
    const values = field.values ?? choicesOf(field).map((value) => ({ value }));
    $(listOf(field.name)).replaceChildren(...values.map(({ value, tasks }) => {
      const text = typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
      return new Option(tasks === undefined ? text : `${text} (${grouped(tasks)})`, text);
    }));
    input.placeholder = "any";
    for (const [value, text] of [[`field.${field.name}`, `${field.name}, lowest first`], [`field.${field.name}:desc`, `${field.name}, highest first`]]) {
      if (![...orders.options].some((option) => option.value === value)) orders.add(new Option(text, value));
    }
  }
  box.hidden = !box.querySelector("label");
}

const listOf = (name) => `values of ${name}`;

/** Returns the field of the filter for this name, which is made if there is none yet. */
export function filterField(name) {
  const form = $("filter");
  const known = form.elements.namedItem(`field.${name}`);
  if (known) return known;
  const input = make("input", { name: `field.${name}`, list: listOf(name), autocomplete: "off", dir: "auto" });
  $("field-filters").append(make("label", {}, make("span", { dir: "auto" }, name), input, make("datalist", { id: listOf(name) })));
  $("field-filters").hidden = false;
  return input;
}

/** Gives a field of a task a value. Returns the task as it is then. */
export async function giveValue(task, field, value) {
  try {
    const { change } = await call(`/api/tasks/${task.id}/label`, { field, value, version: task.version });
    if (change) did(change.group, task.id);
    const now = await call(`/api/tasks/${task.id}`);
    say(value ? `Task ${task.id}: ${field} ${value}.` : `Task ${task.id} has no ${field} any more.`, false, change && "u");
    return now;
  } catch (error) {
    const now = error.answer?.current;
    if (!now && error.status !== 400) throw error;
    say(now ? `Task ${task.id} was changed by ${now.changed_by ?? "somebody else"}; ${field} is as it was.` : error.message, true);
    return now ?? task;
  }
}
