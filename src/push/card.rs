//! README.md of a model or an adapter, of what its training run recorded.

use serde_json::Value;

use super::facts::RunFacts;
use super::markdown::{self, Head};
use super::repo::RepoId;
use super::results::EvaluationText;
use crate::report::card::terms_of;
use crate::text::{counted, noun};

/// What somebody says about a repository, for its card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardWords {
    /// The licence, by the hub's name of it.
    pub license: Option<String>,
    /// Languages, by their codes.
    pub languages: Vec<String>,
    /// The base model's id on the hub.
    pub base: Option<String>,
    /// Ids on the hub of the datasets that were trained on.
    pub datasets: Vec<String>,
    /// Results of evaluations.
    pub evaluations: EvaluationText,
}

impl CardWords {
    /// Whether anything is said that only a card shows.
    pub(super) fn says_something(&self) -> bool {
        let is_silent = self.license.is_none()
            && self.languages.is_empty()
            && self.datasets.is_empty()
            && self.evaluations == EvaluationText::default();
        !is_silent
    }
}

/// What a card is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuned {
    /// A whole model.
    Model,
    /// An adapter, which needs its base.
    Adapter,
}

/// Returns the text of README.md. `words.base` is what is known of the base, recorded or said.
pub fn of(tuned: Tuned, id: &RepoId, facts: &RunFacts, words: &CardWords) -> String {
    let mut card = head(tuned, facts, words);
    card += &format!("# {}\n\n{}\n\n", id.name, introduction(tuned, facts, words));
    if facts.is_known() {
        card += "## How it was trained\n\n";
        card += &markdown::table(&["", ""], &training(facts));
    }
    card += &evaluation(facts, &words.evaluations);
    card += &format!("## How to use it\n\n{}", use_of(tuned, id, words));
    card + &limits(facts, words)
}

fn head(tuned: Tuned, facts: &RunFacts, words: &CardWords) -> String {
    let mut head = Head::default();
    head.field("base_model", words.base.as_deref());
    if tuned == Tuned::Model && facts.is_known() {
        head.field("base_model_relation", words.base.as_ref().map(|_| "finetune"));
    }
    head.list("datasets", &words.datasets);
    head.field("license", words.license.as_deref());
    head.list("language", &words.languages);
    head.field("pipeline_tag", Some("text-generation"));
    let library = match tuned {
        Tuned::Model => "transformers",
        Tuned::Adapter => "peft",
    };
    head.field("library_name", Some(library));
    let mut tags = vec!["ewe"];
    if facts.is_known() {
        tags.push("sft");
    }
    match facts.method() {
        Some(method @ ("lora" | "dora")) => tags.push(method),
        None if tuned == Tuned::Adapter => tags.push("lora"),
        _ => {}
    }
    if facts.setting("quantize").is_string() {
        tags.push("qlora");
    }
    head.list("tags", &tags);
    head.end()
}

fn introduction(tuned: Tuned, facts: &RunFacts, words: &CardWords) -> String {
    let base = words.base.as_ref().map(|base| linked(base));
    let what = match (tuned, base) {
        (Tuned::Adapter, Some(base)) => format!("An adapter for {base}"),
        (Tuned::Adapter, None) => "An adapter".to_owned(),
        (Tuned::Model, Some(base)) => format!("A fine-tune of {base}"),
        (Tuned::Model, None) => "A language model".to_owned(),
    };
    let examples = facts.count("examples").map_or(String::new(), |examples| {
        format!(" on {}", counted(examples, "example"))
    });
    let datasets: Vec<String> = words
        .datasets
        .iter()
        .map(|id| format!("[{}](https://huggingface.co/datasets/{id})", markdown::text(id)))
        .collect();
    let datasets = match datasets.is_empty() {
        true => String::new(),
        false => format!(" of {}", datasets.join(", ")),
    };
    match facts.is_known() {
        true => format!("{what}, trained{examples}{datasets} with `ewe`."),
        false => format!("{what}, published with `ewe`."),
    }
}

fn linked(id: &str) -> String {
    format!("[{}](https://huggingface.co/{id})", markdown::text(id))
}

/// The table of the run.
fn training(facts: &RunFacts) -> Vec<Vec<String>> {
    let setting = |name: &str| match facts.setting(name) {
        Value::Null => None,
        Value::String(text) => Some(markdown::text(text)),
        other => Some(other.to_string()),
    };
    let rows = facts.record["took"].as_str().map(markdown::text);
    let rows = rows.or_else(|| Some(counted(facts.count("examples")?, "example")));
    [
        ("method", method(facts)),
        ("rows", rows),
        ("steps", steps(facts)),
        ("learning rate", rate(facts)),
        ("optimizer", setting("optimizer")),
        ("weight decay", setting("weight_decay")),
        ("precision", setting("precision")),
        ("template", setting("template")),
        (
            "longest example",
            facts
                .setting("max_length")
                .as_u64()
                .map(|most| counted(most, "token")),
        ),
        ("seed", setting("seed")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
    .collect()
}

fn method(facts: &RunFacts) -> Option<String> {
    let lora = facts.setting("lora");
    let adapter = |name: &str| {
        let number = |field: &str| lora[field].as_f64().map_or("?".to_owned(), |n| n.to_string());
        let mut text = format!(
            "{name}, rank {}, alpha {}, dropout {}",
            number("rank"),
            number("alpha"),
            number("dropout")
        );
        if lora["rank_stabilized"] == true {
            text += ", rank-stabilized";
        }
        if let Some(kind) = facts.setting("quantize").as_str() {
            text += &format!(", on a base in {}", markdown::text(kind));
        }
        text
    };
    Some(match facts.method()? {
        "lora" => adapter("LoRA"),
        "dora" => adapter("DoRA"),
        _ => "every weight".to_owned(),
    })
}

fn steps(facts: &RunFacts) -> Option<String> {
    let total = facts.setting("schedule")["total"].as_u64();
    let mut text = counted(facts.steps.or(total)?, "step");
    if let Some(batch) = facts.setting("batch_size").as_u64() {
        text += &format!(" of {}", counted(batch, "example"));
    }
    if let Some(epochs) = facts.record["options"]["epochs"].as_str() {
        let word = noun(epochs.parse::<u64>().unwrap_or(2), "epoch");
        text += &format!(", {} {word}", markdown::text(epochs));
    }
    Some(text)
}

fn rate(facts: &RunFacts) -> Option<String> {
    let schedule = facts.setting("schedule");
    let mut text = format!("{:e}", schedule["peak"].as_f64()?);
    if let Some(kind) = schedule["kind"].as_str() {
        text += &format!(", {}", markdown::text(kind));
    }
    if let Some(warmup) = schedule["warmup"].as_u64().filter(|steps| *steps > 0) {
        text += &format!(", {} of warm-up", counted(warmup, "step"));
    }
    Some(text)
}

fn evaluation(facts: &RunFacts, results: &EvaluationText) -> String {
    let mut text = String::new();
    if let Some((before, after)) = facts.held_out {
        let on = match facts.record["evaluated_on"].as_str() {
            Some("held-out tasks") => " of tasks that were held out",
            Some("a share of the rows") => " of a share of the rows that was held out",
            // A file, whose name is nobody's business.
            _ => "",
        };
        let rows = facts
            .count("held_out")
            .map_or(String::new(), |rows| format!(" on {}{on}", counted(rows, "row")));
        text += &format!(
            "Held-out loss{rows}, in nats a token: {before:.3} before training, {after:.3} after.\n\n"
        );
    }
    text += &markdown::table(
        &["suite", "items", "figure", "value (95 % interval)"],
        &results.rows,
    );
    for sentence in &results.sentences {
        text += &format!("- {sentence}\n");
    }
    if !results.sentences.is_empty() {
        text.push('\n');
    }
    match text.is_empty() {
        true => text,
        false => format!("## Evaluation\n\n{text}"),
    }
}

fn use_of(tuned: Tuned, id: &RepoId, words: &CardWords) -> String {
    let name = &id.name;
    let class = match tuned {
        Tuned::Model => "from transformers import AutoModelForCausalLM as Model, AutoTokenizer",
        Tuned::Adapter => {
            "from peft import AutoPeftModelForCausalLM as Model\nfrom transformers import AutoTokenizer"
        }
    };
    let python = format!(
        "{class}\n\n\
         model = Model.from_pretrained(\"{id}\")\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{id}\")\n\
         messages = [{{\"role\": \"user\", \"content\": \"Name three tips for staying focused.\"}}]\n\
         inputs = tokenizer.apply_chat_template(\n    \
         messages, add_generation_prompt=True, return_dict=True, return_tensors=\"pt\"\n)\n\
         output = model.generate(**inputs, max_new_tokens=200)\n\
         print(tokenizer.decode(output[0][inputs[\"input_ids\"].shape[1]:], skip_special_tokens=True))"
    );
    let base = words.base.as_deref().unwrap_or("BASE");
    let served = match tuned {
        Tuned::Model => format!("vllm serve {id}\newe serve --model {id}"),
        Tuned::Adapter => format!(
            "vllm serve {base} --enable-lora --lora-modules {name}={id}\n\
             hf download {id} --local-dir {name} && ewe serve --model {base} --adapter {name}"
        ),
    };
    markdown::code("python", &python)
        + "As a server with OpenAI's API, either of:\n\n"
        + &markdown::code("sh", &served)
}

fn limits(facts: &RunFacts, words: &CardWords) -> String {
    let mut text = "## Limits\n\n".to_owned();
    text += match (&words.license, &words.base) {
        (Some(_), Some(_)) => "- The base model's terms hold beside the licence of this one.",
        (Some(_), None) => "- The terms of the model that it was made from hold beside its licence.",
        (None, _) => "- No licence is stated. The terms of the base model hold in any case.",
    };
    if let Some(terms) = words.base.as_deref().and_then(terms_of) {
        text += &format!(" Going by its name, those are: {terms}.");
    }
    text.push('\n');
    if facts.is_known() {
        text += "- It was trained on single questions with one answer each, not on longer conversations.\n";
    }
    if facts.is_known() && facts.held_out.is_none() && words.evaluations == EvaluationText::default() {
        text += "- Nothing was held out, so nothing is known of how well it does.\n";
    }
    text + "- It can state what is false. Nothing here was done to make it refuse what is harmful.\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> RunFacts {
        RunFacts {
            held_out: Some((3.27, 2.871)),
            steps: Some(40),
            record: json!({
                "model": "/home/ann/secret/gemma", "rows": "/home/ann/secret/my.db",
                "took": "314 accepted | <b>", "evaluated_on": "held-out tasks",
                "examples": 314, "held_out": 16, "options": {"epochs": "1"},
                "settings": {
                    "method": "lora", "lora": {"rank": 16, "alpha": 32.0, "dropout": 0.0},
                    "quantize": "nf4", "batch_size": 8, "max_length": 2048, "precision": "bf16",
                    "optimizer": "adamw", "weight_decay": 0.0, "template": "alpaca", "seed": 7,
                    "schedule": {"kind": "cosine", "peak": 2e-4, "warmup": 1, "total": 40},
                },
            }),
            ..RunFacts::default()
        }
    }

    fn id() -> RepoId {
        RepoId::parse("ann/sheep").unwrap()
    }

    #[test]
    fn an_adapter_s_card_says_how_it_was_trained() {
        let words = CardWords {
            license: Some("apache-2.0".into()),
            languages: vec!["en".into()],
            base: Some("google/gemma-3-270m".into()),
            datasets: vec!["ann/farm".into()],
            ..CardWords::default()
        };
        let card = of(Tuned::Adapter, &id(), &facts(), &words);
        let head = "---\nbase_model: google/gemma-3-270m\ndatasets:\n- ann/farm\nlicense: apache-2.0\n\
                    language:\n- en\npipeline_tag: text-generation\nlibrary_name: peft\ntags:\n- ewe\n\
                    - sft\n- lora\n- qlora\n---\n\n# sheep\n\n";
        assert!(card.starts_with(head), "{card}");
        for line in [
            "An adapter for [google/gemma-3-270m](https://huggingface.co/google/gemma-3-270m), trained on 314 examples of",
            "| method | LoRA, rank 16, alpha 32, dropout 0, on a base in nf4 |",
            "| rows | 314 accepted \\| &lt;b> |",
            "| steps | 40 steps of 8 examples, 1 epoch |",
            "| learning rate | 2e-4, cosine, 1 step of warm-up |",
            "| longest example | 2048 tokens |",
            "Held-out loss on 16 rows of tasks that were held out, in nats a token: 3.270 before training, 2.871 after.",
            "AutoPeftModelForCausalLM",
            "vllm serve google/gemma-3-270m --enable-lora --lora-modules sheep=ann/sheep",
            "ewe serve --model google/gemma-3-270m --adapter sheep",
            "Going by its name, those are: Gemma Terms of Use.",
        ] {
            assert!(card.contains(line), "{line}\n{card}");
        }
        // Names of this machine's folders are nobody's business.
        assert!(!card.contains("secret"), "{card}");
    }

    #[test]
    fn a_card_states_only_what_is_known() {
        let card = of(Tuned::Model, &id(), &RunFacts::default(), &CardWords::default());
        let head = "---\npipeline_tag: text-generation\nlibrary_name: transformers\ntags:\n- ewe\n---\n\n\
                    # sheep\n\nA language model, published with `ewe`.\n\n## How to use it";
        assert!(card.starts_with(head), "{card}");
        assert!(
            card.contains("vllm serve ann/sheep\newe serve --model ann/sheep"),
            "{card}"
        );
        assert!(card.contains("No licence is stated."), "{card}");
        assert!(
            !card.contains("## Evaluation") && !card.contains("held out"),
            "{card}"
        );
        let unknown = RunFacts {
            record: json!({"examples": 1, "settings": {"method": "full"}}),
            ..RunFacts::default()
        };
        let card = of(Tuned::Model, &id(), &unknown, &CardWords::default());
        assert!(
            card.contains("| method | every weight |\n| rows | 1 example |\n\n"),
            "{card}"
        );
        assert!(card.contains("Nothing was held out"), "{card}");
    }
}
