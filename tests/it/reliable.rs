//! What makes a test fail by chance, or on another machine, is not in the tests: `CONTRIBUTING.md`
//! has the rules. Reads the sources; nothing is compiled.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A file, and the code of it that is read.
struct Code {
    name: String,
    text: String,
}

/// All Rust files below a folder, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let (mut files, mut folders) = (
        Vec::new(),
        vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)],
    );
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The files without the lines that are comments.
fn sources(folder: &str) -> Vec<Code> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .map(|line| match line.trim_start().starts_with("//") {
                true => "\n".to_owned(),
                false => line.to_owned() + "\n",
            });
        let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        Code {
            name: name.to_str().unwrap().to_owned(),
            text: code.collect(),
        }
    };
    files(folder).into_iter().map(read).collect()
}

/// The code of tests: the folder `tests`, files of unit tests, and modules of them at the end of
/// other files.
fn tests() -> Vec<Code> {
    let mut all = sources("tests");
    for mut of in sources("src") {
        let is_test = of.name.ends_with("/tests.rs") || of.name.contains("/tests/");
        if !is_test {
            let Some(at) = of.text.find("#[cfg(test)]\nmod tests {") else {
                continue;
            };
            of.text = "\n".repeat(of.text[..at].matches('\n').count()) + &of.text[at..];
        }
        all.push(of);
    }
    assert!(all.len() > 200, "{} files", all.len());
    all
}

/// Where the code has a pattern, as `file:line`, outside of these ranges.
fn places(of: &Code, pattern: &Regex, except: &[Range<usize>]) -> Vec<String> {
    let found = pattern.find_iter(&of.text).map(|found| found.start());
    let found = found.filter(|at| !except.iter().any(|range| range.contains(at)));
    let line = |at: usize| 1 + of.text[..at].matches('\n').count();
    found.map(|at| format!("{}:{}", of.name, line(at))).collect()
}

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// What tests do not contain, why, and the files that may.
const NEVER: [(&str, &str, &[&str]); 3] = [
    (
        r"\bsleep\(Duration|thread::sleep\(",
        "a busy machine is not done after any fixed time: wait for the event by `waiting::until`",
        &[
            "tests/it/waiting.rs",
            // A model that is slow.
            "src/chat/serve/tests.rs",
            // A server that answers when it is told to.
            "tests/it/faulty_endpoint.rs",
        ],
    ),
    (
        r"\b(set_var|remove_var|set_current_dir)\(",
        "other tests of the process see it: give it to a command of its own",
        &[],
    ),
    (
        r#"(_|\b)rng\(\)|thread_rng|from_os_rng|from_entropy|rand::random"#,
        "draws by chance: seed a generator of the test's own",
        &[],
    ),
];

#[test]
fn tests_wait_for_events_and_change_nothing_that_others_share() {
    let mut wrong = Vec::new();
    let tests = tests();
    for (pattern, why, allowed) in NEVER {
        let pattern = regex(pattern);
        for of in tests.iter().filter(|of| of.name != "tests/it/reliable.rs") {
            match allowed.contains(&of.name.as_str()) {
                true => assert!(pattern.is_match(&of.text), "{} needs no exception", of.name),
                false => wrong.extend(
                    places(of, &pattern, &[])
                        .iter()
                        .map(|place| format!("{place}: {why}")),
                ),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Operations of libtorch that draw from its generator, which all threads of a process share.
static DRAWS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"\b(Tensor::rand|Tensor::randn|Tensor::randint|Tensor::randperm)\(|\.(normal_|uniform_|random_|bernoulli|multinomial|dropout|rand_like|randn_like)\(",
    )
});

/// Where draws need no seed of their own.
const SEEDED_BY_OTHERS: [&str; 2] = [
    // Dropout of a block, which the trainer seeds.
    "src/model/layers/lora.rs",
    // Numbers to measure time by.
    "src/train/selftest/kernel_speed.rs",
];

/// The functions that draw with a seed.
fn seeded(text: &str) -> Vec<Range<usize>> {
    let mut begins: Vec<usize> = text.match_indices("fn ").map(|(at, _)| at).collect();
    begins.push(text.len());
    let functions = begins.windows(2).map(|pair| pair[0]..pair[1]);
    functions
        .filter(|function| text[function.clone()].contains("with_seed("))
        .collect()
}

/// `manual_seed` and a draw are two calls, between which another thread may draw.
#[test]
fn libtorch_draws_only_where_nobody_else_can() {
    let generator = "src/shim/generator.rs";
    let seed = regex(r"\bmanual_seed\(");
    let mut wrong = Vec::new();
    for of in sources("src") {
        if of.name != generator {
            wrong.extend(places(&of, &seed, &[]));
        }
        let draws = places(&of, &DRAWS, &seeded(&of.text));
        match SEEDED_BY_OTHERS.contains(&of.name.as_str()) {
            true => assert!(!draws.is_empty(), "{} needs no exception", of.name),
            false => wrong.extend(draws),
        }
    }
    assert!(
        wrong.is_empty(),
        "draw within `shim::generator::with_seed`: {}",
        wrong.join(", ")
    );
}

/// Property tests draw their cases. A fixed seed makes them the same in each run; other cases are
/// for whoever sets another one.
#[test]
fn cases_of_property_tests_are_the_same_each_time() {
    let config = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/config.toml"));
    let config: toml::Table = config.unwrap().parse().unwrap();
    assert!(config["env"]["PROPTEST_RNG_SEED"].as_str().is_some());
}
