//! Which options are of no use, and in what company.

use std::sync::LazyLock;

use super::Idle;
use super::When::{Is, IsFile, With, Without};
use crate::cli::args::select::{Best, Choice, Length, Select, Traits};

/// In the order in which they are refused.
pub(super) static ALL: LazyLock<Vec<Idle>> =
    LazyLock::new(|| selecting().into_iter().chain(NAMED.iter().copied()).collect());

/// Options that choose tasks, as the commands have them: a list of their names would be forgotten
/// when one is added.
fn selecting() -> [Idle; 3] {
    let names = |more: &[&'static str], shared: Vec<Vec<&'static str>>| -> &'static [&'static str] {
        shared
            .into_iter()
            .fold(more.to_vec(), |all, some| [all, some].concat())
            .leak()
    };
    [
        Idle {
            commands: &["train"],
            options: names(&[], vec![named::<Choice>(), named::<Best>()]),
            when: Without(&["db"]),
            why: "chooses among the tasks of a dataset",
            hint: "--db in place of --data, or leave it away",
        },
        Idle {
            commands: &["push"],
            options: names(
                &["format", "plain", "review", "min_score"],
                vec![named::<Traits>(), named::<Length>(), named::<Best>()],
            ),
            when: Without(&["db"]),
            why: "is about the rows of a dataset",
            hint: "--db in place of the model, or leave it away",
        },
        Idle {
            commands: &["split"],
            options: names(&["seed"], vec![named::<Select>()]),
            when: With(&["clear"]),
            why: "is about which tasks to hold out",
            hint: "leave one of them away",
        },
    ]
}

/// The names of all options of a group.
fn named<Options: clap::Args>() -> Vec<&'static str> {
    let command = Options::augment_args(clap::Command::new("any"));
    let names = command.get_arguments().map(|arg| arg.get_id().to_string());
    names.map(|name| &*name.leak()).collect()
}

const NAMED: &[Idle] = &[
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
            "gpus",
            "nodes",
            "shard",
            "link",
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
        options: &["max_restarts"],
        when: Without(&["ranks", "gpus"]),
        why: "is about the processes that --ranks or --gpus starts",
        hint: "--ranks N, or leave it away; torchrun has an option of that name",
    },
    Idle {
        commands: &["train"],
        options: &["device"],
        when: With(&["gpus"]),
        why: "is where one process computes, and --gpus N takes GPUs 0 to N - 1",
        hint: "--ranks N with --device, or leave one of them away",
    },
    Idle {
        commands: &["train", "plan"],
        options: &["dora"],
        when: With(&["shard"]),
        why: "needs the norms of whole weights, which no rank has",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["train", "plan"],
        options: &["shard"],
        when: Is("optimizer", "adafactor"),
        why: "divides an optimizer's state by the numbers of a parameter, and Adafactor has it by rows and columns",
        hint: "--optimizer adamw8bit, whose state is small too, or leave one of them away",
    },
    Idle {
        commands: &["train", "plan"],
        options: &["offload"],
        when: With(&["shard"]),
        why: "keeps in host memory what ranks divide instead",
        hint: "leave one of them away; a larger --shard takes less of each GPU",
    },
    Idle {
        commands: &["train"],
        options: &["dry_run"],
        when: With(&["shard"]),
        why: "is for a process that has all of the model",
        hint: "`ewe plan --shard N` says what each rank takes",
    },
    Idle {
        commands: &["train"],
        options: &["dry_run"],
        when: With(&["show_rows"]),
        why: "trains a step, and --show-rows ends before the first",
        hint: "one after the other",
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
        commands: &["push"],
        options: &["base_model", "dataset", "evaluation"],
        when: With(&["db"]),
        why: "is about a model",
        hint: "leave one of them away",
    },
    Idle {
        commands: &["generate", "judge"],
        options: &["device", "gpus", "dtype", "batch", "kv_memory"],
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
        options: &["device", "gpus", "dtype", "batch", "kv_memory"],
        when: Without(&["model", "judge"]),
        why: "is for a model of this machine",
        hint: "--model, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["concurrency", "timeout", "retries", "backoff"],
        when: Without(&["endpoint", "endpoints", "judge"]),
        why: "is for an endpoint",
        hint: "--endpoint, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["api"],
        when: Without(&["endpoint", "endpoints", "judge", "batch_file"]),
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
    // Clap forgets it beside an endpoint.
    Idle {
        commands: &["eval"],
        options: &["batch_judge"],
        when: Without(&["batch_file"]),
        why: "is asked through batch files",
        hint: "--batch-file, or --judge for a model behind an address",
    },
    Idle {
        commands: &["eval"],
        options: &["judge_tokens"],
        when: Without(&["judge", "batch_judge"]),
        why: "is for a judge",
        hint: "--judge, or leave it away",
    },
    Idle {
        commands: &["eval"],
        options: &["judge_key_env"],
        when: Without(&["judge"]),
        why: "is for a judge behind an address",
        hint: "--judge, or leave it away",
    },
    Idle {
        commands: &["compare"],
        options: &["exam", "judge_tokens", "judge_key_env", "by", "tie_margin"],
        when: With(&["no_judge"]),
        why: "is for a judge",
        hint: "--judge in place of --no-judge, or leave it away",
    },
    Idle {
        commands: &["compare"],
        options: &["tie_margin"],
        when: Is("by", "text"),
        why: "is for probabilities",
        hint: "--by likelihood, or leave it away",
    },
    Idle {
        commands: &["generate"],
        options: &["absent", "min_support", "max_copied"],
        when: IsFile("recipe"),
        why: "is for the built-in recipe",
        hint: "`grounded`, `support` and `copied` of [candidate] in the file",
    },
    Idle {
        commands: &["generate"],
        options: &[
            "temperature",
            "top_p",
            "repetition_penalty",
            "presence_penalty",
            "structured",
        ],
        when: IsFile("recipe"),
        why: "is for built-in recipes",
        hint: "the file says for each stage how it is asked; write it there",
    },
    Idle {
        commands: &["generate"],
        options: &["absent", "min_support", "max_copied"],
        when: Is("recipe", "self-instruct"),
        why: "is for tasks that a passage answers",
        hint: "--recipe grounded, or leave it away",
    },
    Idle {
        commands: &["generate"],
        options: &["absent", "min_support", "max_copied"],
        when: Is("recipe", "alpaca"),
        why: "is for tasks that a passage answers",
        hint: "--recipe grounded, or leave it away",
    },
    Idle {
        commands: &["generate"],
        options: &["absent", "min_support", "max_copied"],
        when: Is("recipe", "backtranslation"),
        why: "is for tasks that a passage answers; here the passage is the answer",
        hint: "--recipe grounded, or leave it away",
    },
    Idle {
        commands: &["judge"],
        options: &["rubric"],
        when: Is("by", "likelihood"),
        why: "has a score for each criterion, and those are read from the text",
        hint: "leave --by away",
    },
    Idle {
        commands: &["generate"],
        options: &["topics"],
        when: Is("recipe", "grounded"),
        why: "says what tasks are about, as passages do here",
        hint: "--recipe alpaca, or leave it away",
    },
    Idle {
        commands: &["generate"],
        options: &["topics"],
        when: Is("recipe", "backtranslation"),
        why: "says what tasks are about, as passages do here",
        hint: "--recipe alpaca, or leave it away",
    },
    Idle {
        commands: &["add-documents"],
        options: &["passage_tokens", "overlap"],
        when: With(&["text"]),
        why: "is for passages",
        hint: "--db FILE in place of --text, or leave it away",
    },
    Idle {
        commands: &["edit"],
        options: &["instance"],
        when: Without(&["input", "output", "turn", "question", "remove_turn"]),
        why: "says whose texts are meant",
        hint: "--input, --output or --turn with it",
    },
    Idle {
        commands: &["log"],
        options: &["limit"],
        when: With(&["id"]),
        why: "is for the latest actions: of one task every change is shown",
        hint: "leave it away",
    },
];
