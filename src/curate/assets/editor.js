// An editing session: fields that save themselves. All saves of a session are one action, which one
// undo takes back.

import * as conversation from "./conversation.js";
import { by, make, plain, say } from "./element.js";
import { call } from "./server.js";
import { headline, keyed, versions } from "./task.js";

/** Saves after a pause in typing, in milliseconds. */
const PAUSE = 700;
/** When to retry a save without an answer, in milliseconds. */
const AGAIN = 3000;

/** A longer text neither grows its field nor is compared while it is typed. */
const LARGE = 50_000;

function fit(area) {
  const large = area.value.length > LARGE;
  area.classList.toggle("large", large);
  area.spellcheck = !large;
}

/** Starts editing `task`. Calls `noted` with the action once there is one, `end` when it is left. */
export function begin(task, { noted, end }) {
  // The texts at the beginning, and the saved ones.
  let original = task, base = structuredClone(task);
  /** The fields that the user has changed. */
  const touched = new Set();
  let group = null, timer = null, saving = null, theirs = null, failed = null;

  const state = make("span", { class: "state", role: "status" }, "Saves itself as you type.");
  const notice = make("div", { class: "notice" });
  /** In a conflict: the text in the fields beside the saved one. */
  const both = make("div", {});
  const form = make("form", { onsubmit: (event) => { event.preventDefault(); end(); }, oninput: (event) => { touched.add(event.target.name); fit(event.target); schedule(); } }, fields());
  form.append(make("div", { class: "actions" },
    make("button", {}, "Done ", make("kbd", { "aria-hidden": "true" }, "Esc")),
    make("button", { type: "button", onclick: () => { fill(original); schedule(); } }, "Discard changes"), state));

  function fields() {
    const field = (label, name, value) => {
      const area = make("textarea", { name, dir: "auto", rows: Math.min(14, value.split("\n", 14).length + 1), spellcheck: "true" });
      area.value = value;
      fit(area);
      return make("label", {}, make("span", { class: "heading" }, label), area);
    };
    const many = task.instances.length > 1;
    return [field("Instruction", "instruction", task.instruction), ...task.instances.map((instance) =>
      make("div", { class: "instance" },
        field(many ? `Input ${instance.ordinal + 1}` : "Input", `input ${instance.ordinal}`, instance.input),
        field(many ? `Output ${instance.ordinal + 1}` : "Output", `output ${instance.ordinal}`, instance.output),
        conversation.fields(instance, field)))];
  }

  const area = (name) => form.elements.namedItem(name);
  const texts = (of) => Object.fromEntries([["instruction", of.instruction],
    ...of.instances.flatMap((instance) => [[`input ${instance.ordinal}`, instance.input], [`output ${instance.ordinal}`, instance.output],
      ...conversation.texts(instance)])]);
  // Fields have line feeds only; opening a text with other line ends must not change it.
  const shown = (text) => text.replace(/\r\n?/g, "\n");
  const changed = () => Object.entries(texts(base)).filter(([name, text]) => area(name) && area(name).value !== shown(text)).map(([name]) => name);

  function fill(from) {
    for (const [name, text] of Object.entries(texts(from))) if (area(name)) area(name).value = text;
  }

  /** Returns the unsaved edit as the server takes it; null if there is none. */
  function collect() {
    const names = changed();
    if (!names.length) return null;
    const edit = { version: base.version, group, instances: [] };
    for (const name of names) {
      const [column, ordinal, place] = name.split(" ");
      if (column === "instruction") { edit.instruction = area(name).value; continue; }
      let instance = edit.instances.find((other) => other.ordinal === Number(ordinal));
      if (!instance) edit.instances.push(instance = { ordinal: Number(ordinal) });
      if (column === "turn") (instance.turns ??= []).push({ place: Number(place), content: area(name).value });
      else instance[column] = area(name).value;
    }
    return edit;
  }

  function schedule() {
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE);
    if (!theirs) state.textContent = "…";
    else if (!form.querySelector(".large")) both.replaceChildren(...compared());
  }

  /** Saves unsaved edits. Returns whether everything is saved then. */
  async function save() {
    clearTimeout(timer);
    // One save at a time: the next one needs the version that this one makes.
    while (saving) await saving;
    if (theirs) return false;
    const edit = collect();
    if (!edit) { state.textContent = group ? "Saved." : "Saves itself as you type."; failed = null; return true; }
    saving = send(edit);
    await saving;
    saving = null;
    return !failed && !theirs && (collect() === null || save());
  }

  async function send(edit) {
    try {
      const { change, version } = await call(`/api/tasks/${task.id}/edit`, edit);
      failed = null;
      base.version = version;
      if ("instruction" in edit) base.instruction = edit.instruction;
      for (const { ordinal, turns = [], ...columns } of edit.instances) {
        const instance = base.instances.find((other) => other.ordinal === ordinal);
        Object.assign(instance, columns);
        for (const { place, content } of turns) conversation.say(instance, place, content);
      }
      if (change && change.group !== group) noted(group = change.group);
      state.textContent = "Saved.";
    } catch (error) {
      if (error.answer?.current) return conflict(error.answer.current);
      failed = error;
      state.textContent = `Not saved: ${error.message}`;
      if (error.status === 0) timer = setTimeout(save, AGAIN);
    }
  }

  /** Copies `of` with other texts for the named fields: their content, or `value`. */
  function typed(of, names, value = (name) => area(name).value) {
    const mine = structuredClone(of);
    for (const name of names) {
      const [column, ordinal, place] = name.split(" ");
      if (column === "instruction") mine.instruction = value(name);
      else {
        const instance = mine.instances.find((other) => other.ordinal === Number(ordinal));
        if (!instance || !area(name)) continue;
        if (column === "turn") conversation.say(instance, Number(place), value(name));
        else instance[column] = value(name);
      }
    }
    return mine;
  }

  /** Handles a change by others: shows it and keeps what was typed, or takes it if nothing was. */
  function conflict(current) {
    const reviewed = { ...current, review: base.review };
    if (!changed().length && !versions(typed(reviewed, touched), reviewed).length) {
      original = typed(current, touched, (name) => texts(original)[name]);
      base = structuredClone(current);
      group = null;
      fill(current);
      state.textContent = `${by(current)} has changed it where you did not.`;
      return;
    }
    theirs = current;
    state.textContent = "Not saved yet.";
    both.replaceChildren(...compared());
    notice.replaceChildren(make("div", { class: "conflict", role: "alert", tabindex: "-1" },
      make("h2", { class: "unseen" }, "Two versions"),
      make("p", {}, ...plain(`${by(current)} changed this task meanwhile. What you typed is still in the fields, and not saved.`)),
      make("div", { class: "actions" }, keyed("Keep mine", "m", keepMine, true), keyed("Take theirs", "t", takeTheirs, true)),
      both));
  }

  /** Returns what differs between the fields and the version of others. */
  function compared() {
    return versions({ ...typed(theirs, Object.keys(texts(theirs))), review: base.review }, theirs);
  }

  function settle() {
    theirs = null;
    group = null;
    notice.replaceChildren();
    area("instruction").focus();
  }

  function keepMine() {
    if (!theirs) return;
    const names = touched;
    base = structuredClone(theirs);
    for (const [name, text] of Object.entries(texts(base))) if (area(name) && !names.has(name)) area(name).value = text;
    settle();
    save();
  }

  function takeTheirs() {
    if (!theirs) return;
    touched.clear();
    original = theirs;
    base = structuredClone(theirs);
    fill(base);
    settle();
    state.textContent = "Theirs is in the fields.";
  }

  return {
    parts: [headline(task), notice, form],
    keys: { m: keepMine, t: takeTheirs },
    unsaved: () => changed().length > 0,
    inConflict: () => theirs !== null,
    /** Focuses the decision to make. */
    decide: () => notice.firstChild?.focus(),
    /** Takes over a new version of the task. */
    async noticed(version) {
      if (saving || theirs || version <= base.version) return;
      const now = await call(`/api/tasks/${task.id}`);
      if (!saving && !theirs && now.version > base.version) conflict(now);
    },
    /** Saves for the last time. Returns whether the user may leave. */
    async finish() {
      if (await save()) return true;
      say(theirs ? "Keep yours or take theirs first." : `Not saved: ${failed?.message}`, true);
      // Out of the fields, where the keys of the decision would be letters.
      if (theirs) notice.firstChild.focus();
      return false;
    },
  };
}
