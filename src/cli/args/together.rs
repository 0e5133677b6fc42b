//! Options that would be passed over beside others. What is typed is meant, so it is refused with
//! the names of both.

use clap::ArgMatches;

use crate::settings::company::{self, Company};
use crate::settings::options::is_given;

/// Options that are of no use in some company.
struct Idle {
    /// The commands that this is about.
    commands: &'static [&'static str],
    /// The options, by the names of their fields.
    options: &'static [&'static str],
    /// When.
    when: When,
    /// Why, after "`--x` …".
    why: &'static str,
    /// What to do instead.
    hint: &'static str,
}

/// A company.
enum When {
    /// This option has this value, typed or by default.
    Is(&'static str, &'static str),
    /// One of these is given.
    With(&'static [&'static str]),
    /// None of these is given.
    Without(&'static [&'static str]),
}

use When::{Is, With, Without};

const ALL: &[Idle] = &[
    Idle {
        commands: &["merge"],
        options: &["type"],
        when: Without(&["gguf"]),
        why: "is of a GGUF file",
        hint: "--gguf FILE, or leave it away; --dtype is the type of --out",
    },
    Idle {
        commands: &["train", "plan"],
        options: &["lora_rank", "lora_targets", "dora", "quantize"],
        when: Is("method", "full"),
        why: "is of an adapter",
        hint: "--method lora, or leave it away",
    },
    Idle {
        commands: &["train"],
        options: &["lora_alpha", "lora_dropout", "lora_rank_stabilized"],
        when: Is("method", "full"),
        why: "is of an adapter",
        hint: "--method lora, or leave it away",
    },
    Idle {
        commands: &["train"],
        options: &["adapter"],
        when: Is("method", "full"),
        why: "goes on with an adapter",
        hint: "`ewe merge` makes a model of it, to be trained in full; or --method lora",
    },
    Idle {
        commands: &["train", "plan"],
        options: &["master", "update_in_backward", "offload"],
        when: Is("method", "lora"),
        why: "is for --method full: an adapter is fp32, and what is kept of it takes next to nothing",
        hint: "--method full, or leave it away; --recompute saves activations with either",
    },
    Idle {
        commands: &["plan"],
        options: &[
            "method",
            "lora_rank",
            "lora_targets",
            "dora",
            "quantize",
            "master",
            "optimizer",
            "recompute",
            "update_in_backward",
            "offload",
            "micro_tokens",
            "target_tokens",
            "cut",
            "step_tokens",
            "tokens",
            "utilisation",
            "memory",
        ],
        when: With(&["serve"]),
        why: "is of a fine-tune",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["plan"],
        options: &["gpu", "kv_memory"],
        when: Without(&["serve"]),
        why: "is for a model that is served",
        hint: "--serve, or leave it away",
    },
    Idle {
        commands: &["train", "plan"],
        options: &["master"],
        when: Is("precision", "fp32"),
        why: "keeps what bf16 has no room for, and fp32 has all of it",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["train"],
        options: &[
            "lora_rank",
            "lora_alpha",
            "lora_rank_stabilized",
            "lora_targets",
            "dora",
        ],
        when: With(&["adapter"]),
        why: "is what the adapter that is gone on with has already",
        hint: "leave it away",
    },
    Idle {
        commands: &["train"],
        options: &["eval_every", "early_stop", "keep_best"],
        when: Is("eval_fraction", "0"),
        why: "needs something held out",
        hint: "--eval-fraction 0.05, or leave it away",
    },
    Idle {
        commands: &["train"],
        options: &["eval_fraction"],
        when: With(&["eval_data"]),
        why: "is about what to evaluate on, and that is a file of its own",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["train"],
        options: &[
            "review",
            "min_score",
            "max_score",
            "rule",
            "origin",
            "run",
            "classification",
            "label",
            "min_similarity",
            "max_similarity",
            "text",
            "split",
            "where",
            "top",
            "by",
        ],
        when: Without(&["db"]),
        why: "chooses among the tasks of a dataset",
        hint: "--db in place of --data, or leave it away",
    },
    Idle {
        commands: &["push"],
        options: &[
            "format",
            "plain",
            "review",
            "min_score",
            "origin",
            "run",
            "classification",
            "label",
            "min_similarity",
            "max_similarity",
            "text",
            "split",
            "where",
            "min_length",
            "max_length",
            "top",
            "by",
        ],
        when: Without(&["db"]),
        why: "is about the rows of a dataset",
        hint: "--db in place of the model, or leave it away",
    },
    Idle {
        commands: &["push"],
        options: &["base_model", "dataset", "evaluation"],
        when: With(&["db"]),
        why: "is about a model",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["split"],
        options: &[
            "review",
            "min_score",
            "max_score",
            "rule",
            "origin",
            "run",
            "classification",
            "label",
            "min_similarity",
            "max_similarity",
            "text",
            "split",
            "where",
            "min_length",
            "max_length",
            "seed",
        ],
        when: With(&["clear"]),
        why: "is about which tasks to hold out",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["generate", "judge"],
        options: &["device", "dtype", "batch", "kv_memory"],
        when: Without(&["model"]),
        why: "is for a model of this machine",
        hint: "--model, or leave it away",
    },
    Idle {
        commands: &["generate", "judge"],
        options: &["concurrency", "timeout", "retries", "backoff"],
        when: Without(&["endpoint", "endpoints", "judge_endpoint"]),
        why: "is for an endpoint",
        hint: "--endpoint, or leave it away",
    },
    Idle {
        commands: &["generate", "judge"],
        options: &["api"],
        when: Without(&["endpoint", "endpoints", "judge_endpoint", "batch_file"]),
        why: "is for an endpoint",
        hint: "--endpoint, or leave it away",
    },
    Idle {
        commands: &["generate", "judge"],
        options: &["api_key_env"],
        when: Without(&["endpoint", "endpoints"]),
        why: "is for an endpoint",
        hint: "--endpoint, or leave it away",
    },
    Idle {
        commands: &["generate"],
        options: &["judge_key_env"],
        when: Without(&["judge_endpoint"]),
        why: "is for another judge",
        hint: "--judge-endpoint, or leave it away",
    },
    Idle {
        commands: &["generate"],
        options: &["judge"],
        when: With(&["judge_endpoint"]),
        why: "has the model that writes judge as well, and there is another judge",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["generate", "judge"],
        options: &["keep_going"],
        when: Without(&["batch_results"]),
        why: "is for lines of results that are damaged",
        hint: "--batch-results, or leave it away",
    },
    Idle {
        commands: &["train"],
        options: &["format", "map", "keep_going", "left_out"],
        when: Without(&["data", "eval_data"]),
        why: "is about the rows of a file",
        hint: "--data in place of --db, or leave it away",
    },
    Idle {
        commands: &["init"],
        options: &["format", "map", "keep_going", "left_out"],
        when: Without(&["seeds"]),
        why: "is about the rows of a file",
        hint: "--seeds, or leave it away",
    },
    Idle {
        commands: &["compare", "score"],
        options: &["format", "map", "keep_going", "left_out"],
        when: Without(&["data"]),
        why: "is about the rows of a file",
        hint: "--data in place of --db, or leave it away",
    },
    Idle {
        commands: &["influence"],
        options: &["format", "map", "keep_going", "left_out"],
        when: Without(&["eval_data"]),
        why: "is about the rows of a file",
        hint: "--eval-data, or leave it away",
    },
    Idle {
        commands: &["complete"],
        options: &["format", "map", "keep_going", "left_out"],
        when: Without(&["prompts"]),
        why: "is about the rows of a file",
        hint: "--prompts in place of --prompt, or leave it away",
    },
    Idle {
        commands: &["filter"],
        options: &["format", "keep_going", "left_out"],
        when: With(&["db"]),
        why: "is about the rows of a file that is judged",
        hint: "a FILE in place of --db, or leave it away",
    },
    Idle {
        commands: &["filter"],
        options: &["map"],
        when: Without(&["against", "file"]),
        why: "is about the rows of a file, and --db has none",
        hint: "--against, or a FILE in place of --db",
    },
    // Below the above, whose hints lead further. Clap would forget it where --keep-going cannot be.
    Idle {
        commands: &[
            "compare",
            "complete",
            "eval",
            "filter",
            "import",
            "influence",
            "init",
            "score",
            "train",
        ],
        options: &["left_out"],
        when: Without(&["keep_going"]),
        why: "is for rows that are left out",
        hint: "--keep-going, or leave it away",
    },
    Idle {
        commands: &["complete"],
        options: &["out"],
        when: Without(&["prompts"]),
        why: "is for the answers to --prompts",
        hint: "`> FILE` keeps the answer to one --prompt",
    },
    Idle {
        commands: &["complete"],
        options: &["batch"],
        when: Without(&["prompts"]),
        why: "is for several prompts",
        hint: "--prompts, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["adapter"],
        when: Without(&["model"]),
        why: "is of a model of this machine",
        hint: "--model, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["device", "dtype", "batch", "kv_memory"],
        when: Without(&["model", "judge"]),
        why: "is for a model of this machine",
        hint: "--model, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["api", "concurrency", "timeout", "retries", "backoff"],
        when: Without(&["endpoint", "endpoints", "judge"]),
        why: "is for an endpoint",
        hint: "--endpoint, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["api_key_env"],
        when: Without(&["endpoint", "endpoints"]),
        why: "is for an endpoint",
        hint: "--endpoint, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["judge_tokens", "judge_key_env"],
        when: Without(&["judge"]),
        why: "is for a judge",
        hint: "--judge, or leave it away",
    },
    Idle {
        commands: &["compare"],
        options: &["exam", "judge_tokens", "judge_key_env"],
        when: With(&["no_judge"]),
        why: "is for a judge",
        hint: "--judge in place of --no-judge, or leave it away",
    },
    Idle {
        commands: &["edit"],
        options: &["instance"],
        when: Without(&["input", "output"]),
        why: "says which input and output are meant",
        hint: "--input or --output with it",
    },
    Idle {
        commands: &["log"],
        options: &["limit"],
        when: With(&["id"]),
        why: "is for the latest actions: of one task every change is shown",
        hint: "leave it away",
    },
];

/// Looks for options of `command` that would be passed over.
///
/// # Errors
///
/// Names the first, and the company in which it is of no use.
pub fn check(command: &str, matches: &ArgMatches) -> Result<(), String> {
    for idle in ALL.iter().filter(|idle| idle.commands.contains(&command)) {
        let Some(option) = idle.options.iter().find(|option| is_given(matches, option)) else {
            continue;
        };
        let Some(company) = idle.when.company(matches) else {
            continue;
        };
        return Err(format!(
            "`{}` cannot be used {company}: it {}\nhint: {}",
            long(option),
            idle.why,
            idle.hint
        ));
    }
    Ok(())
}

impl When {
    /// Whether it is so, and in which words.
    fn company(&self, matches: &ArgMatches) -> Option<String> {
        match self {
            Is(option, value) => {
                let mut given = matches.try_get_raw(option).ok().flatten().into_iter().flatten();
                // 0 is also 0.0.
                let same = |text: &str| {
                    let text = text.trim();
                    text == *value
                        || matches!((text.parse::<f64>(), value.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
                };
                given
                    .any(|given| given.to_str().is_some_and(same))
                    .then(|| format!("with `{} {value}`", long(option)))
            }
            With(options) => options
                .iter()
                .find(|option| is_given(matches, option))
                .map(|option| match *option {
                    "id" => "with an id".to_owned(),
                    option => format!("with `{}`", long(option)),
                }),
            Without(options) => options
                .iter()
                .all(|option| !is_given(matches, option))
                .then(|| format!("without `{}`", long(options[0]))),
        }
    }
}

/// The table, for settings of files and the environment.
pub struct Together;

impl Company for Together {
    fn exclusions(&self, command: &str) -> Vec<(&'static str, &'static str)> {
        let mut pairs = Vec::new();
        for idle in ALL.iter().filter(|idle| idle.commands.contains(&command)) {
            let With(others) = idle.when else {
                continue;
            };
            for option in idle.options {
                pairs.extend(others.iter().map(|other| (*option, *other)));
            }
        }
        pairs
    }

    fn idle(&self, command: &str, matches: &ArgMatches) -> Vec<company::Idle> {
        let mut found = Vec::new();
        for idle in ALL.iter().filter(|idle| idle.commands.contains(&command)) {
            let Some(company) = idle.when.company(matches) else {
                continue;
            };
            let beside = match idle.when {
                Is(option, _) => Some(option).filter(|option| is_given(matches, option)),
                With(_) | Without(_) => None,
            };
            let given = idle.options.iter().filter(|option| is_given(matches, option));
            found.extend(given.map(|option| company::Idle {
                option,
                beside,
                why: format!("{}, and is of no use {company}", idle.why),
            }));
        }
        found
    }
}

fn long(option: &str) -> String {
    format!("--{}", option.replace('_', "-"))
}

#[cfg(test)]
mod tests;
