// The filter form, and the URL that keeps it.

import { $, make } from "./element.js";
import { filterField } from "./fields.js";

const form = $("filter");
const NUMBERS = /^(run_id|min_.*|max_.*)$/;

/** Returns the filter as the server takes it. */
export function filter() {
  const chosen = {};
  const fields = [];
  for (const [name, value] of new FormData(form)) {
    if (name === "sort" || !value.trim()) continue;
    if (name.startsWith("field.")) fields.push(`${name.slice(6)}=${value === "none" ? "" : value}`);
    else if (NUMBERS.test(name)) chosen[name] = Number(value);
    else if (["is_classification", "disagreement", "commented"].includes(name)) chosen[name] = value === "yes";
    // The last word is still being typed, so any ending matches.
    else chosen[name] = name === "text" ? value.replace(/([\p{L}\p{N}])$/u, "$1*") : value;
  }
  if (fields.length) chosen.field = fields.join("\n");
  return chosen;
}

export const sort = () => form.elements.namedItem("sort").value;

/** Describes the filter in words. */
export function described() {
  const words = [];
  for (const [name, value] of new FormData(form)) {
    if (name === "sort" || !value.trim()) continue;
    words.push(name === "text" ? `“${value}”` : worded(form.elements.namedItem(name)));
  }
  return words.length ? words.join(", ") : "everything";
}

/** A field with what is chosen, in words. */
function worded(field) {
  const group = field.closest("fieldset")?.querySelector("legend").textContent.split(",")[0];
  const label = [group, field.closest("label").querySelector("span").textContent].filter(Boolean).join(" ").toLowerCase();
  return `${label} ${field.selectedOptions ? field.selectedOptions[0].textContent : field.value}`;
}

/** The address as it was written or read last. Another one was opened by the user and is not followed yet. */
let known = location.hash;

/** What the address keeps of the filter, and a task. */
function kept(task) {
  const found = new URLSearchParams();
  for (const field of form.elements) {
    if (field.name && field.value !== initial(field)) found.set(field.name, field.value);
  }
  if (task != null) found.set("task", task);
  return found;
}

/** The address of a task within the filter. */
export const address = (task) => `#${kept(task)}`;

/** Leaves an address that the user opened and that cannot be followed now: the next one is written over it. */
export const overrule = () => { known = location.hash; };

/** Keeps filter, task and the open view (`dashboard`, `candidates&…`) in the URL, so that it can be opened again; as a
    `step`, for the browser's Back. */
export function remember(task, view, step) {
  if (location.hash !== known) return;
  const hash = [view, String(kept(task))].filter(Boolean).join("&");
  const now = `${location.pathname}${hash && `#${hash}`}`;
  if (now !== `${location.pathname}${location.hash}`) history[step ? "pushState" : "replaceState"](null, "", now);
  known = location.hash;
  count();
}

/** Sets the form from the URL. Returns the task, the open view, and all that the URL says. Adds a run that is not offered
    yet. */
export function recall() {
  known = location.hash;
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const field of form.elements) {
    if (field.name && !kept.has(field.name)) field.value = initial(field);
  }
  for (const [name, value] of kept) {
    const field = name.startsWith("field.") ? filterField(name.slice(6)) : form.elements.namedItem(name);
    if (!field) continue;
    if (name === "sort" && ![...field.options].some((option) => option.value === value)) field.add(new Option(value, value));
    if (["run_id", "assigned_to", "awaiting"].includes(name)) field.add(new Option(value, value, false, true));
    field.value = value;
  }
  count();
  const view = ["dashboard", "candidates"].find((name) => kept.has(name)) ?? "";
  return { id: Number(kept.get("task")) || null, view, kept };
}

/** Shows at the field of the condition what is wrong with it, if that is the error; clears it
    without one. Returns whether that was the error. */
export function wrong(error) {
  const isIt = error?.answer?.field === "where";
  $("where").setAttribute("aria-invalid", String(isIt));
  $("where-wrong").textContent = isIt ? error.message : "";
  return isIt;
}

export const isWrong = () => $("where-wrong").textContent !== "";

/** The fields that are not as they are at first. */
const chosen = () => [...form.elements].filter((field) => field.name && field.name !== "sort" && field.value !== initial(field));

/** Sets all fields to what they are at first: pending tasks. If they are that already, everything passes. */
export function clear() {
  const set = chosen();
  for (const field of set) field.value = initial(field);
  if (!set.length) form.elements.namedItem("review").value = "";
  count();
}

/** Shows what is chosen under More filters, each with a button that takes it away. */
function showChips() {
  const hidden = $("more-fields");
  const away = (field) => {
    field.value = initial(field);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    $("filters-button").focus();
  };
  $("chips").replaceChildren(...chosen().filter((field) => hidden.contains(field)).map((field) =>
    make("button", { type: "button", class: "chip", title: "Take this away", onclick: () => away(field) }, `${worded(field)} `,
      make("span", { "aria-hidden": "true" }, "×"))));
  $("clear-button").hidden = !chosen().length;
}

$("clear-button").addEventListener("click", () => {
  clear();
  form.dispatchEvent(new Event("input", { bubbles: true }));
  $("filters-button").focus();
});

/** Fills the lists with the dataset's values. */
export function offer({ runs, reasons }) {
  const list = form.elements.namedItem("run_id");
  const chosen = list.value;
  list.replaceChildren(list.options[0], ...runs.map((run) => new Option(`${run.id}: ${run.command}${run.model ? ` (${run.model})` : ""}`, run.id)));
  list.value = chosen;
  $("rules").replaceChildren(...reasons.map((reason) => new Option("", reason)));
}

function initial(field) {
  if (!field.options) return field.defaultValue;
  return ([...field.options].find((option) => option.defaultSelected) ?? field.options[0]).value;
}

/** Shows on the button how many of its fields are set. */
function count() {
  const set = [...$("more-fields").querySelectorAll("[name]")].filter((field) => field.value.trim()).length;
  $("filters-button").querySelector(".number").textContent = set ? ` (${set})` : "";
  showChips();
}
