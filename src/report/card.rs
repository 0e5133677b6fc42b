//! The dataset card: what the dataset is, how it was made and with which models, under which terms,
//! and its limits. Each figure comes with the query that counts it.

use std::fmt::Write;

use super::{
    Bucket, Figures, OriginCount,
    chart::svg::{self, escape, grouped, short},
};
use crate::store::query::{facts, stats::RunCost};
use crate::task::{Reason, Review};

/// A figure of the card.
struct Fact {
    what: String,
    value: i64,
    query: String,
}

/// The terms of models whose name contains the first text, by their publishers; to be looked up
/// again before the dataset is published.
const TERMS: [(&str, &str); 8] = [
    ("gemma", "Gemma Terms of Use"),
    ("llama", "the Llama Community License of its version"),
    ("gpt-j", "Apache License 2.0"),
    ("pythia", "Apache License 2.0"),
    ("mistral", "Apache License 2.0 for most, Mistral's own for some"),
    ("qwen", "Apache License 2.0 for most, Qwen's own for some"),
    (
        "gpt-",
        "OpenAI's terms of use, which forbid to train competing models with answers",
    ),
    (
        "claude",
        "Anthropic's terms, which forbid to train competing models with answers",
    ),
];

/// Returns the terms of a model, going by its name; none if they are unknown here.
pub fn terms_of(model: &str) -> Option<&'static str> {
    let name = model.to_lowercase();
    let known = TERMS.iter().find(|(part, _)| name.contains(part));
    known.map(|(_, terms)| *terms)
}

/// Returns the card as HTML.
pub fn html(figures: &Figures) -> String {
    let mut card = String::from("<section class=\"card\">\n<h2>Dataset card</h2>\n");
    summary(&mut card, figures);
    making(&mut card, figures);
    terms(&mut card, figures);
    limits(&mut card, figures);
    queries(&mut card, &facts_of(figures));
    card.push_str("</section>\n");
    card
}

fn summary(card: &mut String, figures: &Figures) {
    let dataset = &figures.dataset;
    let origin = |at: usize| {
        let row = &figures.origins[at];
        row.accepted + row.pending
    };
    let _ = writeln!(
        card,
        "<h3>What it is</h3>\n<p>Instructions with inputs and outputs, to teach a language model to follow instructions: {} with {}. \
         {} that people wrote, {} written by a model, {} imported. {} an input, {} classification.</p>",
        svg::counted(dataset.tasks, "task"),
        svg::counted(dataset.examples, "example"),
        svg::chosen(origin(0), "of the tasks is a seed", "of the tasks are seeds"),
        svg::chosen(origin(1), "was", "were"),
        svg::chosen(origin(2), "was", "were"),
        svg::chosen(figures.balance.with_input, "example has", "examples have"),
        svg::chosen(
            figures.balance.classification,
            "of the tasks is",
            "of the tasks are"
        )
    );
    let _ = writeln!(
        card,
        "<h3>Splits and fields</h3>\n<p>There is one split, <code>train</code>: {} of tasks that people accepted, and {} of tasks that nobody \
         has looked at yet. What was rejected is not in it. Fields are <code>instruction</code>, <code>input</code> (may be empty) and \
         <code>output</code>, all of them text.</p>",
        svg::counted(dataset.accepted, "example"),
        grouped(dataset.pending)
    );
    let team = &figures.team;
    if team.counts.reviewed_twice > 0 {
        let alpha = team.agreement.alpha.map_or(String::new(), |alpha| {
            format!(
                " They agree with a Krippendorff's alpha of {alpha:.2}, where 0 is chance and 1 is perfect."
            )
        });
        let _ = writeln!(
            card,
            "<p>{} by two people or more, who did not see each other's opinion.{alpha}</p>",
            svg::chosen(
                team.counts.reviewed_twice,
                "task was reviewed",
                "tasks were reviewed"
            )
        );
    }
}

fn making(card: &mut String, figures: &Figures) {
    card.push_str("<h3>How it was made</h3>\n");
    let candidates = &figures.candidates;
    if candidates.parsed > 0 {
        let _ = writeln!(
            card,
            "<p>Models were prompted with examples from the dataset. {} parsed out of {}; {} passed the filter, {} \
             did not, and {} with their instruction. Two instructions count as the same above a threshold of ROUGE-L; rules look for what a single task must satisfy. \
             Each candidate is kept with its verdict.</p>",
            svg::chosen(candidates.parsed, "candidate was", "candidates were"),
            svg::counted(figures.requests.requests, "response"),
            grouped(candidates.accepted),
            grouped(candidates.rejected),
            svg::chosen(candidates.fell, "instance fell", "instances fell")
        );
    }
    let runs = figures.runs.iter().map(|run| {
        vec![
            run.run_id.to_string(),
            run.command.clone(),
            run.model.clone().unwrap_or_default(),
            run.status.as_str().to_owned(),
            run.started_at.clone(),
            grouped(run.requests),
            grouped(run.prompt_tokens),
            grouped(run.completion_tokens),
            grouped(run.tasks),
        ]
    });
    let heads = [
        "run",
        "command",
        "model",
        "status",
        "started",
        "requests",
        "prompt tokens",
        "completion tokens",
        "tasks",
    ];
    table(card, "Runs", &heads, runs);
    let rejected = candidates.verdicts.iter().filter(|row| row.verdict == "rejected");
    let rejected = rejected.map(|row| {
        vec![
            row.reason.clone().unwrap_or_default(),
            row.kind.clone(),
            grouped(row.candidates),
        ]
    });
    table(
        card,
        "Rules that turned candidates away",
        &["reason", "kind", "candidates"],
        rejected,
    );
    if !figures.silent_reasons.is_empty() {
        let reasons: Vec<_> = figures
            .silent_reasons
            .iter()
            .map(|reason| escape(reason))
            .collect();
        let _ = writeln!(
            card,
            "<p>Rules that turned nothing away: {}.</p>",
            reasons.join(", ")
        );
    }
}

fn terms(card: &mut String, figures: &Figures) {
    card.push_str("<h3>Licence and terms</h3>\n<p>The dataset states no licence of its own. ");
    let mut models: Vec<&str> = figures
        .runs
        .iter()
        .filter(|run| run.command == "generate" && run.tasks > 0)
        .filter_map(|run| run.model.as_deref())
        .collect();
    models.sort_unstable();
    models.dedup();
    if models.is_empty() {
        card.push_str("No model wrote any of it.</p>\n");
        return;
    }
    card.push_str(
        "What a model wrote may be bound to the terms of that model; look them up before the dataset is published or a model trained \
         with it. Going by their names:</p>\n<ul>\n",
    );
    for model in models {
        let terms = terms_of(model).unwrap_or("terms unknown here");
        let _ = writeln!(card, "<li><b>{}</b>: {terms}</li>", escape(&short(model, 120)));
    }
    card.push_str("</ul>\n");
}

fn limits(card: &mut String, figures: &Figures) {
    let dataset = &figures.dataset;
    card.push_str("<h3>Limits</h3>\n<ul>\n");
    if dataset.pending > 0 {
        let _ = writeln!(
            card,
            "<li>{} of {} seen by no person: what they say may be wrong, biased or harmful.</li>",
            grouped(dataset.pending),
            svg::chosen(dataset.examples, "example was", "examples were")
        );
    }
    card.push_str(
        "<li>Near-duplicates are found by the words that instructions have in common, not by what they mean.</li>\n\
         <li>Rules over meaning know English; so does the search for verbs and objects.</li>\n\
         <li>Lengths are counted in characters, not in tokens of a model.</li>\n</ul>\n",
    );
}

fn queries(card: &mut String, facts: &[Fact]) {
    card.push_str("<h3>Every figure and its query</h3>\n<details><summary>Queries</summary>\n");
    let rows = facts
        .iter()
        .map(|fact| vec![fact.what.clone(), grouped(fact.value), fact.query.clone()]);
    table(card, "", &["what", "figure", "SQL"], rows);
    card.push_str("</details>\n");
}

/// Returns the figures of the card.
fn facts_of(figures: &Figures) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.add_dataset(figures);
    facts.add_origins(&figures.origins);
    facts.add_candidates(figures);
    facts.add_similarities(&figures.similarities);
    for run in figures.runs.iter().filter(|run| run.requests + run.tasks > 0) {
        facts.add_run(run);
    }
    facts.add_contents(figures);
    facts.0
}

/// The figures of the card, in their order.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, what: &str, value: i64, query: String) {
        self.0.push(Fact {
            what: what.to_owned(),
            value,
            query,
        });
    }

    fn add_dataset(&mut self, figures: &Figures) {
        let (dataset, balance) = (&figures.dataset, &figures.balance);
        self.add("tasks of the dataset", dataset.tasks, facts::tasks());
        self.add("examples of the dataset", dataset.examples, facts::examples());
        let (accepted, pending) = (facts::examples_of("accepted"), facts::examples_of("pending"));
        self.add("examples of accepted tasks", dataset.accepted, accepted);
        self.add("examples of pending tasks", dataset.pending, pending);
        let classification = facts::classification();
        self.add("tasks that classify", balance.classification, classification);
        self.add("examples with an input", balance.with_input, facts::with_input());
        let twice = figures.team.counts.reviewed_twice;
        if twice > 0 {
            self.add("tasks with two opinions or more", twice, facts::reviewed_twice());
        }
    }

    fn add_origins(&mut self, origins: &[OriginCount]) {
        for row in origins {
            let origin = row.origin.as_str();
            let what = format!("{origin} tasks that were not rejected");
            self.add(&what, row.accepted + row.pending, facts::kept_of(origin));
            for (review, count) in [
                (Review::Accepted, row.accepted),
                (Review::Pending, row.pending),
                (Review::Rejected, row.rejected),
            ] {
                let query = facts::tasks_of(origin, review.as_str());
                self.add(&format!("{origin} tasks, {review}"), count, query);
            }
        }
    }

    fn add_candidates(&mut self, figures: &Figures) {
        let requests = figures.requests.requests;
        self.add("responses of models", requests, facts::requests());
        let candidates = &figures.candidates;
        self.add("candidates parsed", candidates.parsed, facts::candidates());
        let accepted = facts::accepted_candidates();
        self.add("candidates accepted", candidates.accepted, accepted);
        self.add("candidates rejected", candidates.rejected, facts::rejections());
        let fell = facts::rejections_of("instance", Reason::InstructionRejected.code());
        self.add(
            "instances that fell with their instruction",
            candidates.fell,
            fell,
        );
        for row in &candidates.verdicts {
            if let Some(reason) = &row.reason {
                let what = format!("{} rejected: {reason}", row.kind);
                self.add(&what, row.candidates, facts::rejections_of(&row.kind, reason));
            }
        }
    }

    fn add_similarities(&mut self, similarities: &[Bucket]) {
        for from in [0, 50] {
            let here = similarities.iter().filter(|bucket| bucket.from >= from);
            let what = format!("tasks with a nearest neighbor of at least 0.{from:02}");
            let count = here.map(|bucket| bucket.count).sum();
            self.add(&what, count, facts::nearest_from(from));
        }
    }

    fn add_run(&mut self, run: &RunCost) {
        let id = run.run_id;
        let of = |what: &str| facts::of_run(id, what);
        self.add(&format!("run {id}: requests"), run.requests, of("count(*)"));
        let prompt = of("coalesce(sum(prompt_tokens), 0)");
        self.add(&format!("run {id}: prompt tokens"), run.prompt_tokens, prompt);
        let completion = of("coalesce(sum(completion_tokens), 0)");
        let what = format!("run {id}: completion tokens");
        self.add(&what, run.completion_tokens, completion);
        self.add(&format!("run {id}: tasks"), run.tasks, facts::tasks_of_run(id));
    }

    /// Adds scores, labels and verbs.
    fn add_contents(&mut self, figures: &Figures) {
        for row in &figures.scores {
            let score = row
                .score
                .map_or("unreadable".to_owned(), |score| score.to_string());
            let what = format!("{}: score {score}", row.model);
            self.add(&what, row.instances, facts::scores_of(&row.model, row.score));
        }
        for row in &figures.labels.most {
            let query = facts::label(&row.label);
            self.add(&format!("label {}", row.label), row.examples, query);
        }
        for row in &figures.roots.verbs {
            self.add(&format!("verb {}", row.verb), row.tasks, facts::verb(&row.verb));
        }
    }
}

/// Appends a table, unless it has no rows. Columns of numbers are aligned right.
pub(super) fn table(body: &mut String, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    body.push_str("<div class=\"scroll\" tabindex=\"0\"><table>\n");
    if !title.is_empty() {
        let _ = writeln!(body, "<caption>{}</caption>", escape(title));
    }
    body.push_str("<thead><tr>");
    for head in heads {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escape(head));
    }
    body.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        body.push_str("<tr>");
        for cell in row {
            let is_number = !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == ',');
            let class = if is_number { " class=\"number\"" } else { "" };
            let _ = write!(body, "<td{class}>{}</td>", escape(&cell));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table></div>\n");
}
