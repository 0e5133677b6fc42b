// Makes elements of what the server says. Texts only ever become text nodes: a model wrote them.

/** An element with attributes (`class`, `type`, `on…` for a listener) and children, strings among them. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A line of the queue. */
export function line(task, current, pick) {
  const facts = make("span", { class: "facts" },
    make("span", { class: task.review }, task.review),
    make("span", {}, `${task.origin} ${task.id}`),
    task.is_classification ? make("span", {}, "classification") : null,
    task.nearest_rouge_l == null ? null : make("span", {}, `alike ${task.nearest_rouge_l.toFixed(2)}`));
  const title = make("span", { class: "title" }, task.instruction);
  return make("li", {}, make("button", { type: "button", "aria-current": String(current), onclick: pick }, title, facts));
}

/** A task to be read. `act` has a function for each button. */
export function reading(task, act) {
  const button = (label, key, run) => make("button", { type: "button", onclick: run }, label, " ", make("kbd", {}, key));
  const parts = [
    facts(task),
    make("div", { class: "actions" },
      button("Accept", "a", act.accept), button("Reject", "r", act.reject), button("Edit", "e", act.edit)),
    make("h2", {}, "Instruction"),
    make("p", { class: "text instruction" }, task.instruction),
  ];
  for (const instance of task.instances) {
    const box = make("div", { class: "instance" });
    if (instance.input) box.append(make("h2", {}, "Input"), make("p", { class: "text" }, instance.input));
    box.append(make("h2", {}, "Output"), make("p", { class: "text" }, instance.output));
    parts.push(box);
  }
  if (!task.instances.length) parts.push(make("p", {}, "It has no instance yet, so it is not in the dataset."));
  parts.push(history(task), provenance(task));
  return parts;
}

/** The same task to be edited: fields that `collect` reads. `conflict` is the task as somebody else left it. */
export function editing(task, act, conflict) {
  const field = (label, name, value) => make("label", {}, make("h2", {}, label), area(name, value));
  const parts = [facts(task)];
  if (conflict) {
    const box = make("div", { class: "conflict", role: "alert" },
      make("p", {}, "Somebody changed this task meanwhile. Theirs is below, yours in the fields; saving now replaces theirs."),
      make("h2", {}, "Instruction"), make("p", { class: "text" }, conflict.instruction));
    for (const instance of conflict.instances) {
      box.append(make("h2", {}, "Input"), make("p", { class: "text" }, instance.input),
        make("h2", {}, "Output"), make("p", { class: "text" }, instance.output));
    }
    parts.push(box);
  }
  const form = make("form", { onsubmit: (event) => { event.preventDefault(); act.save(form); } },
    field("Instruction", "instruction", task.instruction));
  for (const instance of task.instances) {
    form.append(make("div", { class: "instance" },
      field("Input", `input ${instance.ordinal}`, instance.input),
      field("Output", `output ${instance.ordinal}`, instance.output)));
  }
  form.append(make("div", { class: "actions" },
    make("button", {}, "Save ", make("kbd", {}, "Ctrl Enter")),
    make("button", { type: "button", onclick: act.leave }, "Leave ", make("kbd", {}, "Esc"))));
  parts.push(form);
  return parts;
}

function area(name, value) {
  const element = make("textarea", { name, rows: Math.min(14, value.split("\n").length + 1) });
  element.value = value;
  return element;
}

/** What differs between the fields and the task, as the server wants it; null where nothing does. */
export function collect(form, task) {
  const value = (name) => form.elements.namedItem(name).value;
  const edit = { version: task.version, instances: [] };
  if (value("instruction") !== task.instruction) edit.instruction = value("instruction");
  for (const { ordinal, input, output } of task.instances) {
    const changed = { ordinal };
    if (value(`input ${ordinal}`) !== input) changed.input = value(`input ${ordinal}`);
    if (value(`output ${ordinal}`) !== output) changed.output = value(`output ${ordinal}`);
    if ("input" in changed || "output" in changed) edit.instances.push(changed);
  }
  return "instruction" in edit || edit.instances.length ? edit : null;
}

function facts(task) {
  const all = [make("span", { class: task.review }, task.review), `${task.origin} task ${task.id}`, task.name, task.source_id,
    task.is_classification ? "classification" : null, task.run_id == null ? null : `run ${task.run_id}`,
    task.round == null ? null : `round ${task.round}`,
    task.evolution ? `made of task ${task.evolution.parent_task_id}: ${task.evolution.operator}` : null];
  return make("p", { class: "facts" }, ...all.filter(Boolean).map((fact) => make("span", {}, fact)));
}

function history(task) {
  if (!task.history.length) return null;
  const rows = task.history.map((change) =>
    `${change.at.slice(0, 19).replace("T", " ")}  ${change.who}  ${change.action}${change.undoes ? ` of ${change.undoes}` : ""}` +
    `${change.note ? `: ${change.note}` : ""}\n  from ${change.before}\n  to   ${change.after}`);
  return make("details", {}, make("summary", {}, `History, ${rows.length}`), make("p", { class: "text" }, rows.join("\n")));
}

function provenance(task) {
  if (!task.provenance.length) return null;
  const box = make("details", { id: "provenance" }, make("summary", {}, "Where it came from"));
  for (const call of task.provenance) {
    box.append(
      make("p", { class: "facts" }, ...[`request ${call.request_id}`, call.stage, call.model,
        `${call.prompt_tokens} + ${call.completion_tokens} tokens`, call.finish_reason].filter(Boolean)
        .map((fact) => make("span", {}, fact))),
      make("h2", {}, "Prompt"), make("p", { class: "text" }, call.prompt),
      make("h2", {}, "Response"), make("p", { class: "text" }, call.response));
  }
  return box;
}

/** The most similar tasks, with the words that this task does not have marked. */
export function beside(task) {
  if (!task.neighbors.length) return [make("h2", {}, "Most alike"), make("p", { class: "facts" }, "Nothing was compared with it.")];
  const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const ours = new Set(words(task.instruction));
  return [make("h2", {}, "Most alike"), ...task.neighbors.map((near) => {
    const text = make("p", { class: "text" });
    for (const part of near.instruction.split(/([\p{L}\p{N}]+)/u)) {
      const differs = /[\p{L}\p{N}]/u.test(part) && !ours.has(part.toLowerCase());
      text.append(differs ? make("mark", {}, part) : part);
    }
    return make("div", { class: "near" },
      make("p", { class: "facts" }, make("span", {}, `ROUGE-L ${near.rouge_l.toFixed(2)}`), make("span", {}, `task ${near.id}`),
        make("span", { class: near.review }, near.review)), text);
  })];
}

/** The dashboard. The charts are figures by the server, which escapes what is in them; the policy of the page lets no script run. */
export function dashboard({ figures, charts }) {
  const grid = make("div", { class: "charts" });
  for (const chart of charts) {
    const figure = new DOMParser().parseFromString(chart.figure, "application/xhtml+xml").documentElement;
    grid.append(document.adoptNode(figure));
  }
  const { dataset, requests, candidates } = figures;
  const lead = [`${dataset.tasks} tasks with ${dataset.examples} examples`];
  if (candidates.parsed) lead.push(`${candidates.parsed} candidates parsed, ${candidates.rejected} of them rejected`);
  if (requests.requests) lead.push(`${requests.requests} requests, ${requests.prompt_tokens + requests.completion_tokens} tokens`);
  return [make("p", { class: "lead" }, lead.join(" · ")), grid];
}
