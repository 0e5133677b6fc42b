//! The sources as tests read them: texts, and the functions that a command can reach. Nothing is
//! compiled. A method call counts as a call of every method of that name in files that the command
//! uses, so the search finds too much rather than too little.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use regex::Regex;

/// All files of `src`, sorted by path.
pub struct Sources {
    pub files: Vec<File>,
    /// The numbers of files by module path.
    modules: HashMap<Vec<String>, usize>,
    links: OnceLock<Links>,
}

/// A file of `src` without its unit tests.
pub struct File {
    pub name: String,
    module: Vec<String>,
    pub texts: Vec<Text>,
    /// Functions and constants. The first item is all code outside of them.
    items: Vec<Item>,
    /// The numbers of items by name.
    named: HashMap<String, Vec<usize>>,
    /// The types with inherent methods in this file.
    types: BTreeSet<String>,
    /// Paths imported by `use`, by the name that they have here.
    brought: HashMap<String, Vec<String>>,
}

/// A string literal and its position.
pub struct Text {
    pub line: usize,
    pub text: String,
    /// The index of the item around it.
    pub item: usize,
}

struct Item {
    name: String,
    /// Not called by name: it belongs to a trait implementation or stands outside of functions.
    is_implicit: bool,
    is_method: bool,
    /// The paths that it mentions, such as `a::b::c`, and single names.
    paths: BTreeSet<Vec<String>>,
    /// The methods that it calls.
    methods: BTreeSet<String>,
}

/// A function or constant: the number of a file, and the index of an item.
pub type Place = (usize, usize);

/// What each item leads to, found once for all commands.
struct Links {
    /// Of each item of each file: the items that it names.
    named: Vec<Vec<Vec<Place>>>,
    /// Of each file: the files of the options that its options contain.
    contained: Vec<BTreeSet<usize>>,
    /// Of each file: itself, and the files with methods of its types.
    woken: Vec<Vec<usize>>,
    /// All methods by name.
    methods: HashMap<String, Vec<Place>>,
}

/// Files that lead to everything, and are skipped.
const ROOTS: [&str; 4] = ["lib.rs", "main.rs", "torch.rs", "cli/mod.rs"];

static SOURCES: LazyLock<Sources> = LazyLock::new(Sources::read);

impl Sources {
    /// The sources, read once for all tests.
    pub fn get() -> &'static Sources {
        &SOURCES
    }

    fn read() -> Sources {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.extend((!path.ends_with("tests")).then_some(path));
                } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs")
                {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                    files.push(File::read(name, &std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let modules = files
            .iter()
            .enumerate()
            .map(|(at, file)| (file.module.clone(), at))
            .collect();
        Sources {
            files,
            modules,
            links: OnceLock::new(),
        }
    }

    /// The functions with which `ewe-torch` begins a command: command name and file.
    pub fn entries(&self) -> Vec<(String, String)> {
        let roots = &self.files[self.number("torch.rs").expect("a root")].items;
        let named = roots.iter().flat_map(|item| &item.paths);
        let runs = named.filter(|path| path.len() >= 3 && path[path.len() - 1] == "run");
        let entry = |path: &Vec<String>| {
            let modules = &path[..path.len() - 1];
            (
                modules[modules.len() - 1].clone(),
                format!("{}.rs", modules.join("/")),
            )
        };
        runs.map(entry).collect()
    }

    /// The number of the file with this path, if there is one.
    pub fn number(&self, file: &str) -> Option<usize> {
        self.files
            .binary_search_by(|other| other.name.as_str().cmp(file))
            .ok()
    }

    /// The functions of a file with this name.
    pub fn named(&self, file: &str, name: &str) -> Vec<Place> {
        self.number(file)
            .map_or(Vec::new(), |file| self.named_in(file, name))
    }

    fn named_in(&self, file: usize, name: &str) -> Vec<Place> {
        let items = self.files[file].named.get(name).into_iter().flatten();
        items.map(|&item| (file, item)).collect()
    }

    /// The code of a file outside of its functions and constants.
    pub fn outside(&self, file: &str) -> Place {
        let number = self.number(file);
        (number.unwrap_or_else(|| panic!("there is no src/{file}")), 0)
    }

    /// Everything that is reachable from these. A method is reachable only if something in its
    /// file, or in the file of its type, is: without that there is no value to call it on. Options
    /// that a command's options contain are reachable with them.
    pub fn reached(&self, from: Vec<Place>) -> HashSet<Place> {
        let links = self.links.get_or_init(|| self.links());
        let (mut left, mut reached) = (from, HashSet::new());
        let (mut awake, mut called) = (HashSet::<usize>::new(), HashSet::<&str>::new());
        let mut entered = HashSet::new();
        while let Some(place) = left.pop() {
            let (number, at) = place;
            let file = &self.files[number];
            if ROOTS.contains(&file.name.as_str()) || !reached.insert(place) {
                continue;
            }
            left.extend(&links.named[number][at]);
            for method in &file.items[at].methods {
                if called.insert(method) {
                    let all = links.methods.get(method).into_iter().flatten();
                    left.extend(all.filter(|(file, _)| awake.contains(file)));
                }
            }
            let contained = (at == 0).then_some(&links.contained[number]);
            let touched = contained.into_iter().flatten().chain([&number]);
            for &woken in touched.flat_map(|&touched| &links.woken[touched]) {
                if awake.insert(woken) {
                    let items = self.files[woken].items.iter().enumerate();
                    let is_called = |item: &Item| item.is_method && called.contains(item.name.as_str());
                    left.extend(
                        items
                            .filter(|(_, item)| is_called(item))
                            .map(|(at, _)| (woken, at)),
                    );
                }
            }
            if entered.insert(number) {
                let items = file.items.iter().enumerate();
                left.extend(
                    items
                        .filter(|(_, item)| item.is_implicit)
                        .map(|(at, _)| (number, at)),
                );
            }
        }
        reached
    }

    fn links(&self) -> Links {
        let mut links = Links {
            named: Vec::new(),
            contained: vec![BTreeSet::new(); self.files.len()],
            woken: (0..self.files.len()).map(|file| vec![file]).collect(),
            methods: HashMap::new(),
        };
        for (number, file) in self.files.iter().enumerate() {
            let mut named = Vec::new();
            for (at, item) in file.items.iter().enumerate() {
                let mut of_item = Vec::new();
                for path in &item.paths {
                    if let Some((other, Some(last))) = self.resolve(number, path, 4) {
                        of_item.extend(self.named_in(other, &last));
                        let are_options =
                            [number, other].map(|file| self.files[file].name.starts_with("cli/"));
                        if at == 0 && are_options == [true, true] {
                            links.contained[number].insert(other);
                        }
                    }
                }
                named.push(of_item);
                if item.is_method {
                    links
                        .methods
                        .entry(item.name.clone())
                        .or_default()
                        .push((number, at));
                }
            }
            links.named.push(named);
            for of in &file.types {
                let home = self.resolve(number, std::slice::from_ref(of), 4);
                if let Some((home, _)) = home.filter(|(home, _)| !links.woken[*home].contains(&number)) {
                    links.woken[home].push(number);
                }
            }
        }
        links
    }

    /// The file that a path leads to, and the last name within it, if one is left. Follows
    /// re-exports.
    fn resolve(&self, number: usize, path: &[String], depth: usize) -> Option<(usize, Option<String>)> {
        let file = &self.files[number];
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" | "ewe" => (Vec::new(), &path[1..]),
            "self" => (file.module.clone(), &path[1..]),
            "Self" => return Some((number, path[1..].last().cloned())),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                (
                    file.module[..file.module.len().checked_sub(ups)?].to_vec(),
                    &path[ups..],
                )
            }
            first => match file.brought.get(first) {
                Some(brought) if depth > 0 && brought.first().is_some_and(|to| to != first) => {
                    let whole = [brought.as_slice(), &path[1..]].concat();
                    return self.resolve(number, &whole, depth - 1);
                }
                _ => (file.module.clone(), path),
            },
        };
        let has = |file: usize, name: &String| self.files[file].named.contains_key(name);
        while let Some((first, more)) = rest.split_first() {
            let child = [base.as_slice(), std::slice::from_ref(first)].concat();
            // A function may have the name of a module, as `read::open`.
            let is_item = more.is_empty() && self.modules.get(&base).is_some_and(|&file| has(file, first));
            if is_item || !self.modules.contains_key(&child) {
                break;
            }
            (base, rest) = (child, more);
        }
        let found = self.modules.get(&base).copied().unwrap_or(number);
        let passed_on = rest
            .first()
            .filter(|first| found != number && depth > 0 && !has(found, first));
        match passed_on.and_then(|first| self.files[found].brought.get(first)) {
            Some(brought) => {
                let whole = [brought.as_slice(), &rest[1..]].concat();
                self.resolve(found, &whole, depth - 1)
            }
            None => Some((found, rest.last().cloned())),
        }
    }
}

impl File {
    fn read(name: &str, source: &str) -> File {
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let (code, found) = without_texts(source);
        let spans = spans(&code);
        let traits: Vec<Range<usize>> = TRAIT
            .find_iter(&code)
            .map(|found| found.start()..closed(&code, found.end() - 1))
            .collect();
        let inner = |at: usize| {
            let around = spans
                .iter()
                .enumerate()
                .filter(|(_, (_, span))| span.contains(&at));
            around
                .max_by_key(|(_, (_, span))| span.start)
                .map_or(0, |(at, _)| at + 1)
        };
        let line_ends: Vec<usize> = source.match_indices('\n').map(|(at, _)| at).collect();
        let texts = found.into_iter().map(|(at, text)| Text {
            line: 1 + line_ends.partition_point(|end| *end < at),
            text,
            item: inner(at),
        });
        let mut outside = code.clone().into_bytes();
        spans
            .iter()
            .for_each(|(_, span)| outside[span.clone()].fill(b' '));
        let outside = String::from_utf8(outside).expect("whole items were taken out");
        // An import is not a use.
        let outside = USE.replace_all(&outside, "");
        let mut items = vec![Item::of("", &outside, true)];
        items.extend(spans.iter().map(|(name, span)| {
            let is_implicit = traits.iter().any(|of| of.contains(&span.start));
            Item::of(name, &code[span.clone()], is_implicit)
        }));
        let mut named = HashMap::<String, Vec<usize>>::new();
        for (at, item) in items.iter().enumerate() {
            named.entry(item.name.clone()).or_default().push(at);
        }
        File {
            name: name.to_string(),
            module: module(name),
            texts: texts.collect(),
            items,
            named,
            types: IMPL
                .captures_iter(&code)
                .filter(|found| !found[0].contains(" for "))
                .map(|found| found[1].to_string())
                .collect(),
            brought: brought(&code),
        }
    }
}

impl Item {
    fn of(name: &str, code: &str, is_implicit: bool) -> Item {
        let head = code.split('{').next().unwrap_or_default();
        // A variable is not the function of the same name.
        let bound: BTreeSet<&str> = BOUND
            .captures_iter(code)
            .map(|found| found.extract::<1>().1[0])
            .collect();
        let paths = PATH.find_iter(code).map(|found| found.as_str());
        let paths = paths.filter(|path| !bound.contains(path)).map(segments);
        Item {
            name: name.to_string(),
            is_implicit,
            is_method: SELF.is_match(head),
            paths: paths.collect(),
            methods: METHOD
                .find_iter(code)
                .map(|found| found.as_str()[1..].trim().to_string())
                .collect(),
        }
    }
}

/// Compiles a pattern once, since it is searched in thousands of functions.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).unwrap());
    };
}

pattern!(TRAIT, r"\bimpl\b[^{;]*\bfor\b[^{;]*\{");
pattern!(IMPL, r"(?m)^impl(?:<[^>]*>)?\s+([A-Z]\w*)[^{;]*");
pattern!(SELF, r"\(\s*&?(?:'\w+ )?(?:mut )?self\b");
pattern!(PATH, r"\b[A-Za-z_]\w*(?:::\w+)*");
pattern!(
    BOUND,
    r"\b(?:let(?:\s+mut)?\s+|\|)?([a-z_]\w*)\b(?:\s*:[^:]|\s*=[^=]|\s*\|)"
);
pattern!(METHOD, r"\.\s*[a-z_]\w*");
pattern!(ITEM, r"\bfn\s+(\w+)|\b(?:const|static)\s+([A-Z_0-9]+)\s*:");
pattern!(USE, r"\buse\s+([^;]+);");
pattern!(LINE_END, r"\\\n\s*");
pattern!(
    TOKEN,
    r##"(?xs) //[^\n]* | /\*.*?\*/
    | \bb?r"(?<raw>[^"]*)" | \bb?r\#"(?<hashed>.*?)"\# | b?"(?<text>(?:[^"\\]|\\.)*)"
    | '(?:[^'\\]|\\(?:[^u]|u\{[^}]*\}))' "##
);

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(|part| part.trim().to_string()).collect()
}

fn module(name: &str) -> Vec<String> {
    match name {
        "lib.rs" | "main.rs" => Vec::new(),
        // Its modules stand beside those of the library.
        "torch.rs" => vec!["torch".to_string()],
        name => segments(
            &name
                .trim_end_matches(".rs")
                .trim_end_matches("/mod")
                .replace('/', "::"),
        ),
    }
}

/// Functions and constants with their ranges.
fn spans(code: &str) -> Vec<(String, Range<usize>)> {
    let mut spans = Vec::new();
    for found in ITEM.captures_iter(code) {
        let (start, end) = (found.get(0).unwrap().start(), found.get(0).unwrap().end());
        let name = found.get(1).or(found.get(2)).unwrap().as_str();
        let end = match found.get(1) {
            // A function without a body belongs to a trait.
            Some(_) => match code[end..].find(['{', ';']).map(|more| end + more) {
                Some(open) if code[open..].starts_with('{') => closed(code, open),
                _ => continue,
            },
            None => code[end..].find(";\n").map_or(code.len(), |more| end + more),
        };
        spans.push((name.to_string(), start..end));
    }
    spans
}

/// The position after the brace that closes the one at `open`.
fn closed(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The code with spaces in place of string literals and comments, and the literals with their
/// positions.
fn without_texts(source: &str) -> (String, Vec<(usize, String)>) {
    let (mut code, mut texts) = (source.as_bytes().to_vec(), Vec::new());
    for found in TOKEN.captures_iter(source) {
        let whole = found.get(0).unwrap();
        code[whole.range()]
            .iter_mut()
            .filter(|byte| **byte != b'\n')
            .for_each(|byte| *byte = b' ');
        if let Some(raw) = found.name("raw").or(found.name("hashed")) {
            texts.push((whole.start(), raw.as_str().to_string()));
        } else if let Some(text) = found.name("text") {
            texts.push((whole.start(), unescaped(text.as_str())));
        }
    }
    (
        String::from_utf8(code).expect("whole texts were taken out"),
        texts,
    )
}

fn unescaped(text: &str) -> String {
    let joined = LINE_END.replace_all(text, "").into_owned();
    joined
        .replace("\\n", "\n")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

fn brought(code: &str) -> HashMap<String, Vec<String>> {
    let mut brought = HashMap::new();
    for found in USE.captures_iter(code) {
        for leaf in leaves(&found[1]) {
            let (path, name) = leaf.split_once(" as ").unwrap_or((&leaf, ""));
            let mut path = segments(path);
            if path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let name = match name.trim() {
                "" => path.last().cloned().unwrap_or_default(),
                name => name.to_string(),
            };
            brought.insert(name, path);
        }
    }
    brought
}

/// The paths of a `use` tree such as `a::{b, c::{d, e}}`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((before, inner)) = tree
        .trim()
        .strip_suffix('}')
        .and_then(|tree| tree.split_once('{'))
    else {
        return vec![tree.trim().to_string()];
    };
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                parts.last_mut().unwrap().push(c);
            }
        }
    }
    let whole = parts.iter().filter(|part| !part.trim().is_empty());
    whole
        .flat_map(|part| leaves(part))
        .map(|leaf| format!("{before}{leaf}"))
        .collect()
}
