//! The sources as tests read them: texts, and which functions a command can come to. Nothing is compiled: a call of a method
//! is one of every method of that name in files that the command uses, so what is found is rather too much than too little.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// All of `src`, by path.
pub struct Sources {
    pub files: BTreeMap<String, File>,
    /// Files by the path of their module.
    modules: BTreeMap<Vec<String>, String>,
}

/// A file of `src` without its unit tests.
pub struct File {
    module: Vec<String>,
    pub texts: Vec<Text>,
    /// Functions and constants. The first one is everything outside of these.
    items: Vec<Item>,
    /// The types that it has methods of, those of traits left out.
    types: BTreeSet<String>,
    /// What it brings in by `use`, by the name that it has here.
    brought: HashMap<String, Vec<String>>,
}

/// A text and where it stands.
pub struct Text {
    pub line: usize,
    pub text: String,
    /// The item around it.
    pub item: usize,
}

struct Item {
    name: String,
    /// Called by nobody in particular: it belongs to a trait, or stands outside.
    is_implicit: bool,
    is_method: bool,
    /// `a::b::c`, and names alone.
    paths: BTreeSet<Vec<String>>,
    /// What is called by `.name(`.
    methods: BTreeSet<String>,
}

/// A function or constant: the number of an item of a file.
type Place = (String, usize);

/// What leads to everything, and is passed by.
const ROOTS: [&str; 4] = ["lib.rs", "main.rs", "torch.rs", "cli/mod.rs"];

impl Sources {
    pub fn read() -> Sources {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.extend((!path.ends_with("tests")).then_some(path));
                } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs")
                {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_string();
                    let source = std::fs::read_to_string(&path).unwrap();
                    files.insert(name.clone(), File::read(&name, &source));
                }
            }
        }
        let modules = files
            .iter()
            .map(|(name, file)| (file.module.clone(), name.clone()))
            .collect();
        Sources { files, modules }
    }

    /// The functions with which `ewe-torch` begins a command, by the command's name.
    pub fn entries(&self) -> Vec<(String, String)> {
        let roots = &self.files["torch.rs"].items[0..];
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

    /// The functions of a file that are called so.
    pub fn named<'a>(&'a self, file: &'a str, name: &'a str) -> impl Iterator<Item = Place> + 'a {
        let items = self
            .files
            .get(file)
            .into_iter()
            .flat_map(|file| file.items.iter().enumerate());
        items
            .filter(move |(_, item)| item.name == name)
            .map(move |(at, _)| (file.to_string(), at))
    }

    /// Everything of a file that stands outside of its functions and constants.
    pub fn outside(&self, file: &str) -> Place {
        assert!(self.files.contains_key(file), "there is no src/{file}");
        (file.to_string(), 0)
    }

    /// Everything that can be come to from these. A method is only where something of its file, or of the file of its type,
    /// was come to: without that there is no value to call it of. Options that a command's options
    /// are made of are there with them.
    pub fn reached(&self, from: Vec<Place>) -> BTreeSet<Place> {
        let (mut left, mut reached) = (from, BTreeSet::new());
        let (mut awake, mut called) = (BTreeSet::<String>::new(), BTreeSet::<String>::new());
        let mut entered = BTreeSet::new();
        while let Some(place) = left.pop() {
            if ROOTS.contains(&place.0.as_str()) || !reached.insert(place.clone()) {
                continue;
            }
            let (name, at) = &place;
            let item = &self.files[name].items[*at];
            let mut touched = BTreeSet::from([name.clone()]);
            for path in &item.paths {
                if let Some((file, rest)) = self.resolve(name, path, 4)
                    && let Some(last) = rest.last()
                {
                    left.extend(self.named(&file, last));
                    let both_are_options = [name, &file].iter().all(|file| file.starts_with("cli/"));
                    touched.extend((*at == 0 && both_are_options).then_some(file));
                }
            }
            let new: BTreeSet<&String> = item.methods.difference(&called).collect();
            left.extend(self.methods(&awake, |name| new.iter().any(|new| *new == name)));
            called.extend(item.methods.iter().cloned());
            let woken = touched.iter().flat_map(|name| self.woken_by(name));
            let woken: BTreeSet<String> = woken.filter(|file| !awake.contains(file)).collect();
            left.extend(self.methods(&woken, |name| called.contains(name)));
            if entered.insert(name.clone()) {
                let items = self.files[name].items.iter().enumerate();
                left.extend(
                    items
                        .filter(|(_, item)| item.is_implicit)
                        .map(|(at, _)| (name.clone(), at)),
                );
            }
            awake.extend(woken);
        }
        reached
    }

    fn methods(&self, files: &BTreeSet<String>, is_called: impl Fn(&str) -> bool) -> Vec<Place> {
        let items = files.iter().flat_map(|file| {
            self.files[file]
                .items
                .iter()
                .enumerate()
                .map(move |item| (file, item))
        });
        items
            .filter(|(_, (_, item))| item.is_method && is_called(&item.name))
            .map(|(file, (at, _))| (file.to_string(), at))
            .collect()
    }

    /// The file, and those with methods of its types.
    fn woken_by<'a>(&'a self, name: &'a String) -> impl Iterator<Item = String> + 'a {
        let has_methods_of = move |other: &String, file: &File| {
            file.types.iter().any(|of| {
                self.resolve(other, std::slice::from_ref(of), 4)
                    .is_some_and(|(file, _)| file == *name)
            })
        };
        self.files
            .iter()
            .filter(move |(other, file)| *other == name || has_methods_of(other, file))
            .map(|(other, _)| other.clone())
    }

    /// The file that a path leads into, and what follows it there. Where that is passed on from elsewhere, elsewhere.
    fn resolve(&self, name: &str, path: &[String], depth: usize) -> Option<(String, Vec<String>)> {
        let file = &self.files[name];
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" | "ewe" => (Vec::new(), &path[1..]),
            "self" => (file.module.clone(), &path[1..]),
            "Self" => return Some((name.to_string(), path[1..].to_vec())),
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
                    return self.resolve(name, &whole, depth - 1);
                }
                _ => (file.module.clone(), path),
            },
        };
        while let Some((first, more)) = rest.split_first() {
            let child = [base.as_slice(), std::slice::from_ref(first)].concat();
            if !self.modules.contains_key(&child) {
                break;
            }
            (base, rest) = (child, more);
        }
        let found = self
            .modules
            .get(&base)
            .cloned()
            .unwrap_or_else(|| name.to_string());
        let is_here = |first: &String| self.named(&found, first).next().is_some();
        let passed_on = rest
            .first()
            .filter(|first| found != name && depth > 0 && !is_here(first));
        match passed_on.and_then(|first| self.files[&found].brought.get(first)) {
            Some(brought) => {
                let whole = [brought.as_slice(), &rest[1..]].concat();
                self.resolve(&found, &whole, depth - 1)
            }
            None => Some((found, rest.to_vec())),
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
        let texts = found.into_iter().map(|(at, text)| Text {
            line: 1 + source[..at].matches('\n').count(),
            text,
            item: inner(at),
        });
        let mut outside = code.clone().into_bytes();
        spans
            .iter()
            .for_each(|(_, span)| outside[span.clone()].fill(b' '));
        let outside = String::from_utf8(outside).expect("whole items were taken out");
        // What is brought in is not used by that.
        let outside = USE.replace_all(&outside, "");
        let mut items = vec![Item::of("", &outside, true)];
        items.extend(spans.iter().map(|(name, span)| {
            let is_implicit = traits.iter().any(|of| of.contains(&span.start));
            Item::of(name, &code[span.clone()], is_implicit)
        }));
        File {
            module: module(name),
            texts: texts.collect(),
            items,
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
        // A variable is no function of the same name.
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

/// A pattern is compiled once, and looked for in thousands of functions.
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

/// Functions and constants with where they stand.
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

/// Behind the brace that closes the one at `open`.
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

/// The code with spaces in place of texts and comments, and the texts with where they begin.
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

/// The paths of a tree such as `a::{b, c::{d, e}}`.
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
