//! Examples of commands, below their help. Each can be typed as it is; a test parses them.

/// The name of each command, and its examples. A line break within one is a backslash before it.
pub const EXAMPLES: &[(&str, [&str; 3])] = &[
    (
        "init",
        [
            "ewe init --db farm.db",
            "ewe init --db farm.db --seeds my_seeds.jsonl",
            "ewe init --db qa.db --seeds qa.csv --map instruction=question,output=answer",
        ],
    ),
    (
        "generate",
        [
            "ewe generate --db farm.db --target 500 --model models/gemma-3-270m",
            "ewe generate --db farm.db --target 500 \\\n--endpoint http://127.0.0.1:8000/v1",
            "ewe generate --db farm.db --target 500 --evolve 0.3 --judge --max-minutes 60 \\\n\
             --model models/gemma-3-270m",
        ],
    ),
    (
        "judge",
        [
            "ewe judge --db farm.db --endpoint http://127.0.0.1:8000/v1",
            "ewe judge --db farm.db --model models/gemma-3-270m --review pending",
            "ewe judge --db farm.db --endpoint-model judge --batch-file requests.jsonl",
        ],
    ),
    (
        "validate",
        [
            "ewe validate --db farm.db --validator \"python3 check.py\"",
            "ewe validate --db farm.db --validator ./check --origin machine --dry-run",
            "ewe validate --db farm.db --validator ./check --again --validator-timeout 60",
        ],
    ),
    (
        "recipe",
        [
            "ewe recipe show alpaca > mine.toml",
            "ewe recipe check mine.toml",
            "ewe recipe check mine.toml --db farm.db",
        ],
    ),
    (
        "filter",
        [
            "ewe filter data.jsonl --out kept.jsonl --verdicts why.jsonl",
            "ewe filter data.parquet --against evaluation.jsonl --out kept.parquet",
            "ewe filter --db farm.db --threshold 0.6 --dry-run",
        ],
    ),
    (
        "import",
        [
            "ewe import --db farm.db databricks-dolly-15k.jsonl",
            "ewe import --db farm.db qa.parquet --map instruction=question,output=answer",
            "ewe import --db farm.db rows.csv --keep-going --left-out bad.jsonl",
        ],
    ),
    (
        "add-documents",
        [
            "ewe add-documents --db farm.db handbook/ notes.pdf",
            "ewe add-documents --db farm.db articles.jsonl --column body",
            "ewe add-documents --text report.pdf",
        ],
    ),
    (
        "export",
        [
            "ewe export --db farm.db --format alpaca --out farm.json",
            "ewe export --db farm.db --format chat --min-score 4 --out good.jsonl.zst",
            "ewe export --db farm.db --format completion --split train --out -",
        ],
    ),
    (
        "backup",
        [
            "ewe backup --db farm.db --out copy.db",
            "ewe backup --db farm.db --out backups/monday.db",
            "ewe backup --quiet --db farm.db --out /media/stick/farm.db",
        ],
    ),
    (
        "merge-db",
        [
            "ewe merge-db one.db two.db three.db --out farm.db",
            "ewe merge-db farm.db desk/farm.db --out all.db --dry-run",
            "ewe merge-db one.db two.db --out farm.db --threshold 0.6 --json",
        ],
    ),
    (
        "check",
        [
            "ewe check --db farm.db",
            "ewe check --db farm.db --json",
            "ewe check --quiet --db backups/monday.db",
        ],
    ),
    (
        "list",
        [
            "ewe list --db farm.db --review pending",
            "ewe list --db farm.db --origin machine --min-similarity 0.5 --sort similar",
            "ewe list --db farm.db --where \"score >= 4\" --top 20% --json",
        ],
    ),
    (
        "show",
        [
            "ewe show --db farm.db 216",
            "ewe show --db farm.db 216 --json",
            "ewe show --quiet --db farm.db 1",
        ],
    ),
    (
        "search",
        [
            "ewe search --db farm.db sheep",
            "ewe search --db farm.db \"late invoice\" --review pending",
            "ewe search --db farm.db \"write*\" --limit 5 --json",
        ],
    ),
    (
        "review",
        [
            "ewe review --db farm.db",
            "ewe review --db farm.db --origin machine --sort similar",
            "ewe review --db farm.db --review rejected --rule near_duplicate",
        ],
    ),
    (
        "curate",
        [
            "ewe curate --db farm.db",
            "ewe curate --db farm.db --bind 127.0.0.1:9000",
            "ewe curate --db farm.db --bind 0.0.0.0:8017 --token-file token.txt",
        ],
    ),
    (
        "candidates",
        [
            "ewe candidates --db farm.db --rule near_duplicate",
            "ewe candidates --db farm.db 74",
            "ewe candidates --db farm.db --run 3 --csv",
        ],
    ),
    (
        "rescue",
        [
            "ewe rescue --db farm.db 74",
            "ewe rescue --db farm.db 74 80-82 --reason \"the rule is wrong here\"",
            "ewe rescue --db farm.db 74 --json",
        ],
    ),
    (
        "accept",
        [
            "ewe accept --db farm.db 216 218-224",
            "ewe accept --db farm.db --review pending --min-score 4",
            "ewe accept --db farm.db 217 --reason \"checked by hand\"",
        ],
    ),
    (
        "reject",
        [
            "ewe reject --db farm.db 216 217 --reason nonsense",
            "ewe reject --db farm.db --review pending --max-score 2",
            "ewe reject --db farm.db --text \"as an AI\" --yes",
        ],
    ),
    (
        "unsure",
        [
            "ewe unsure --db farm.db 216 --as anna",
            "ewe unsure --db farm.db 216-219 --as anna --reason \"needs a vet\"",
            "ewe unsure --db farm.db --text medicine --as anna --yes",
        ],
    ),
    (
        "assign",
        [
            "ewe assign --db farm.db --to anna,ben,carol --each 2",
            "ewe assign --db farm.db 216-230 --to anna",
            "ewe assign --db farm.db --withdraw --to ben",
        ],
    ),
    (
        "agreement",
        [
            "ewe agreement --db farm.db",
            "ewe agreement --db farm.db --origin machine",
            "ewe agreement --db farm.db --json",
        ],
    ),
    (
        "comment",
        [
            "ewe comment --db farm.db 216 \"is this still true?\"",
            "ewe comment --db farm.db 216-219 230 \"all of one document\"",
            "ewe comment --db farm.db 216 \"agreed\" --as anna",
        ],
    ),
    (
        "edit",
        [
            "ewe edit --db farm.db 219",
            "ewe edit --db farm.db 219 --output \"A better answer.\"",
            "ewe edit --db farm.db 219 --instance 1 --input x --reason typo",
        ],
    ),
    (
        "field",
        [
            "ewe field add --db farm.db difficulty --values easy,medium,hard --key h",
            "ewe field list --db farm.db",
            "ewe field rename --db farm.db difficulty level",
        ],
    ),
    (
        "label",
        [
            "ewe label --db farm.db 7 9-12 difficulty=hard",
            "ewe label --db farm.db topics+=math --text sheep",
            "ewe label --db farm.db 7 difficulty=",
        ],
    ),
    (
        "undo",
        [
            "ewe undo --db farm.db",
            "ewe undo --db farm.db 12",
            "ewe undo --db farm.db --redo",
        ],
    ),
    (
        "log",
        [
            "ewe log --db farm.db",
            "ewe log --db farm.db 219",
            "ewe log --db farm.db --limit 5 --json",
        ],
    ),
    (
        "stats",
        [
            "ewe stats --db farm.db",
            "ewe stats --db farm.db --json",
            "ewe stats --quiet --db copy.db",
        ],
    ),
    (
        "report",
        [
            "ewe report --db farm.db --out report.html",
            "ewe report --db farm.db --out -",
            "ewe report --quiet --db farm.db --out public/index.html",
        ],
    ),
    (
        "plan",
        [
            "ewe plan --model models/gemma-3-270m",
            "ewe plan --model EleutherAI/gpt-j-6b --quantize nf4 --memory 16GB",
            "ewe plan --model models/gemma-3-270m --serve --gpu 24GB",
        ],
    ),
    (
        "train",
        [
            "ewe train --db farm.db --model models/gemma-3-270m --out tuned",
            "ewe train --db farm.db --where \"score >= 4\" --top 50% \\\n--model models/gemma-3-270m --out tuned",
            "ewe train --config tuned/run.toml --out again",
        ],
    ),
    (
        "merge",
        [
            "ewe merge --model models/gemma-3-270m --adapter tuned --out merged",
            "ewe merge --model models/gemma-3-270m --adapter tuned --dtype fp32 \\\n--out merged",
            "ewe merge --model google/gemma-3-270m --adapter tuned \\\n--gguf tuned.gguf --type q8_0",
        ],
    ),
    (
        "push",
        [
            "ewe push --model merged acme/sheep --license apache-2.0 --dry-run",
            "ewe push --adapter tuned acme/sheep-lora --base-model google/gemma-3-270m",
            "ewe push --db farm.db acme/farm --review accepted --license cc-by-4.0 \\\n--language en",
        ],
    ),
    (
        "chat",
        [
            "ewe chat --model models/gemma-3-270m",
            "ewe chat --model models/gemma-3-270m --adapter tuned",
            "ewe chat --model models/gemma-3-270m --adapter tuned --temperature 0",
        ],
    ),
    (
        "complete",
        [
            "ewe complete --model models/gemma-3-270m --prompt \"A ewe is\"",
            "ewe complete --model models/gemma-3-270m --adapter tuned --chat \\\n--prompt \"Name a ewe.\"",
            "ewe complete --model models/gemma-3-270m --prompts prompts.jsonl \\\n--out answers.jsonl",
        ],
    ),
    (
        "serve",
        [
            "ewe serve --model models/gemma-3-270m",
            "ewe serve --model models/gemma-3-270m --adapter tuned \\\n--served-model-name sheep",
            "ewe serve --model models/gemma-3-270m --bind 0.0.0.0:8000 \\\n--token-file token.txt",
        ],
    ),
    (
        "split",
        [
            "ewe split --db farm.db --eval 10%",
            "ewe split --db farm.db --eval 50 --origin seed --review accepted",
            "ewe split --db farm.db --clear",
        ],
    ),
    (
        "eval",
        [
            "ewe eval --db farm.db --suite held-out --model models/gemma-3-270m",
            "ewe eval --db farm.db --suite held-out --model models/gemma-3-270m \\\n--adapter tuned",
            "ewe eval --endpoint http://127.0.0.1:8000/v1 --suite ifeval=ifeval.jsonl \\\n--out result.json",
        ],
    ),
    (
        "compare",
        [
            "ewe compare --a models/base --b models/base+tuned \\\n\
             --judge http://127.0.0.1:8000/v1 --data test.jsonl --out result.json",
            "ewe compare --a models/base --b models/base+tuned --no-judge --db farm.db \\\n--out result.json",
            "ewe compare --a models/base --b models/other --judge models/large \\\n\
             --db farm.db --limit 100 --out result.json",
        ],
    ),
    (
        "score",
        [
            "ewe score --model models/gemma-3-270m --data rows.jsonl --out scores.jsonl",
            "ewe score --model models/gemma-3-270m --db farm.db",
            "ewe score --model models/gemma-3-270m --adapter tuned --chat \\\n\
             --data rows.jsonl --out scores.jsonl",
        ],
    ),
    (
        "influence",
        [
            "ewe influence --db farm.db --run-dir tuned",
            "ewe influence --db farm.db --run-dir tuned --checkpoints 4",
            "ewe influence --db farm.db --run-dir tuned --eval-data test.jsonl",
        ],
    ),
    (
        "gain",
        [
            "ewe gain --db farm.db --model models/gemma-3-270m --out tuned",
            "ewe gain --db farm.db --model models/base --out tuned --check-worst",
            "ewe gain --db farm.db --model models/base --out tuned -- --epochs 3",
        ],
    ),
    (
        "selftest",
        [
            "ewe selftest",
            "ewe selftest --device cuda:0",
            "ewe selftest --json",
        ],
    ),
    (
        "doctor",
        ["ewe doctor", "ewe doctor --json", "ewe doctor > report.txt"],
    ),
    (
        "config",
        [
            "ewe config",
            "ewe config train --lr 1e-4",
            "ewe config --toml train --db farm.db --model models/gemma-3-270m > my.toml",
        ],
    ),
];
