// Dialogs: reason, new turn, bulk review, export, confirmation.

import { $, counted, make, say } from "./element.js";
import { described, filter } from "./filter.js";
import { call } from "./server.js";

/** Shows a dialog. Resolves to its form when it is submitted, to null when it is dismissed. */
function ask(dialog) {
  const form = dialog.querySelector("form");
  form.reset();
  dialog.returnValue = "";
  dialog.showModal();
  dialog.querySelector("[data-close]").onclick = () => dialog.close();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? new FormData(form) : null), { once: true }));
}

function suggest(note) {
  const reasons = $("reasons");
  if (note && ![...reasons.options].some((option) => option.value === note)) {
    const option = document.createElement("option");
    option.value = note;
    reasons.prepend(option);
  }
}

/** Asks for the reason of a rejection; null if it is dismissed. */
export async function reason() {
  const given = await ask($("reason"));
  if (!given) return null;
  suggest(given.get("note"));
  return given.get("note");
}

/** Asks why one is unsure; null if it is dismissed. */
export async function doubt() {
  const given = await ask($("unsure"));
  return given && given.get("note");
}

/** Makes a text field for a dialog, with its title above it. */
const textField = (title, options) => make("label", {}, make("span", {}, title), make("textarea", { dir: "auto", required: "", ...options }));

/** Shows a dialog with these text fields. No fields are left that are not shown. */
async function askTexts(name, fields) {
  $(`${name}-texts`).replaceChildren(...fields);
  const given = await ask($(name));
  $(`${name}-texts`).replaceChildren();
  return given;
}

/** Asks for a comment; null if it is dismissed. Ctrl-Enter ends it. */
export async function newComment() {
  const send = (event) => {
    const { form } = event.target;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(form.querySelector("[value=yes]"));
  };
  const given = await askTexts("comment", [textField("Text", { name: "text", rows: 5, maxlength: 10000, autofocus: "", onkeydown: send })]);
  return given && given.get("text");
}

/** Asks for a question and its answer; null if it is dismissed. */
export async function newTurn() {
  const given = await askTexts("turn", [textField("Question", { name: "question", rows: 3, autofocus: "" }), textField("Answer", { name: "answer", rows: 6 })]);
  return given && { question: given.get("question"), answer: given.get("answer") };
}

/** Asks whether to undo the last action, which was not made in this window. */
export async function confirmUndo(action) {
  const tasks = action.tasks === 1 ? `task ${action.first_task}` : counted(action.tasks, "task");
  $("confirm-text").textContent =
    `Nothing was done in this window. The last action of all: ${action.action}, ${tasks}, by ${action.who}, ` +
    `${action.at.slice(0, 19).replace("T", " ")}${action.note ? ` (${action.note})` : ""}.`;
  return (await ask($("confirm"))) !== null;
}

/** Names on the button of the dialog what it will do: `Reject 45 tasks`. */
function nameButton(count) {
  const form = $("bulk").querySelector("form");
  const name = () => {
    const chosen = form.elements.namedItem("review").value;
    const verb = { accepted: "Accept", rejected: "Reject" }[chosen] ?? "Accept or reject";
    $("bulk-yes").textContent = `${verb} ${counted(count, "task")}`;
  };
  form.onchange = name;
  // The form is reset before it is shown.
  form.onreset = () => setTimeout(name);
}

/** Reviews some tasks after showing their number: those of the filter, or the `selected` ones. Returns the change, or null. */
export async function bulk(selected = []) {
  const dialog = $("bulk");
  const chosen = filter();
  const isSelection = selected.length > 0;
  $("bulk-title").textContent = isSelection ? "The selected tasks" : "All tasks of the filter";
  const show = (count, more = "") => {
    $("bulk-count").textContent = isSelection ? `${counted(count, "task")}, selected one by one.` : `${counted(count, "task")}: ${described()}.${more}`;
    $("bulk-yes").disabled = count === 0;
    nameButton(count);
  };
  let count = isSelection ? selected.length : (await call(`/api/count?${new URLSearchParams({ filter: JSON.stringify(chosen) })}`)).count;
  for (let more = ""; ;) {
    show(count, more);
    const given = await ask(dialog);
    if (!given) return null;
    const note = given.get("note");
    const review = given.get("review");
    try {
      say("Working …", true);
      const { change } = isSelection ? await call("/api/selected", { ids: selected, review, note })
        : await call("/api/bulk", { filter: chosen, review, count, note });
      suggest(note);
      if (!change) say("Nothing to do: all of them were so already.");
      else say(`${counted(change.tasks, "task")} ${review}.`, false, "u");
      return change;
    } catch (error) {
      if (error.answer?.count === undefined) throw error;
      count = error.answer.count;
      more = " It was another number a moment ago; nothing was done yet.";
      say("Nothing was done yet.");
    }
  }
}

/** Asks for the name of the present filter; null if it is dismissed. */
export async function nameFilter() {
  $("save-filter-what").textContent = `${described()}.`;
  const given = await ask($("save-filter"));
  return given?.get("name").trim() || null;
}

/** Lets the browser save the dataset as a file. */
export async function save() {
  $("export-filter").textContent = `what the filter shows: ${described()}`;
  const given = await ask($("export"));
  if (!given) return;
  const which = { accepted: { review: "accepted" }, any: {}, filter: filter() };
  const order = { format: given.get("format"), filter: which[given.get("which")] };
  if (given.get("min_score")) order.min_score = Number(given.get("min_score"));
  const { url } = await call("/api/export", order);
  const link = document.createElement("a");
  link.href = url;
  link.download = "";
  link.click();
  say("The download has begun.");
}
