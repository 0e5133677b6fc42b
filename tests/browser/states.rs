//! Every state of the page, at three widths and in both themes: what it looks like, and what axe-core
//! says of it (`make check-axe`).

use serde_json::{Value, json};

use crate::{
    browser::{self, Browser, Page, looking},
    looks::{fits, readable},
    shell::Dir,
    support::{ewe, filled},
};

const FIRST: i64 = 216;

/// Widths and heights of a large screen, a small one and a telephone.
const SIZES: [(u32, u32); 3] = [(1600, 1000), (1000, 800), (400, 900)];

/// A dataset without seeds on the page, since only pending tasks are shown.
fn rows() -> Dir {
    let long = "A long story of the herd that went up the hill and came down again. ".repeat(400);
    let code = "Use a loop:\n\n```python\ndef sheep(n):\n    for i in range(n):  # one after the other\n        yield f\"sheep {i}\"\n```\n\n\
                | key | meaning |\n| --- | --- |\n| `a` | accept |\n| `r` | a column that goes on and on and on |\n\n> quoted\n\n1. one\n2. two";
    let word = "x".repeat(600);
    browser::imported(&[
        ["Count sheep in Python, with a table of keys.", "", code],
        ["Tell the story of the herd.", &long, "It ends well."],
        [
            "اكتب قصيدة قصيرة عن الخروف",
            "في المرج الأخضر",
            "خروف أبيض يمشي في المرج، والريح تغني له.",
        ],
        ["Write one word.", "", &word],
    ])
}

/// Shows the states one after another, each at every size and in every theme.
fn walk(each: &dyn Fn(&Browser, &str)) {
    let shown = |browser: &Browser, name: &str| {
        for (width, height) in SIZES {
            browser.size(width, height);
            for theme in ["light", "dark"] {
                browser.theme(theme);
                each(browser, &format!("state-{name}-{width}-{theme}"));
            }
        }
        browser.size(SIZES[0].0, SIZES[0].1);
    };
    few_rows(&shown);
    texts(&shown);
    many_rows(&shown);
    conflict(&shown);
    views(&shown);
}

type Shown<'a> = &'a dyn Fn(&Browser, &str);

/// Nothing at all, one task, and the end.
fn few_rows(shown: Shown) {
    let dir = Dir::with_dataset();
    dir.sql("update task set review = 'accepted'");
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        shown(&browser, "empty");
        browser::import_numbered(&dir, 1, 1);
        browser.at(FIRST);
        shown(&browser, "one");
        browser.press("a");
        browser.wait("document.getElementById('end')");
        shown(&browser, "end");
        browser.close();
    });
}

fn texts(shown: Shown) {
    let dir = rows();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        shown(&browser, "code");
        browser.press("v");
        browser.wait("document.querySelector('#task table')");
        shown(&browser, "rendered");
        browser.press("vj");
        browser.at(FIRST + 1);
        shown(&browser, "long");
        browser.press("j");
        browser.at(FIRST + 2);
        shown(&browser, "right-to-left");
        browser.press("j");
        browser.at(FIRST + 3);
        shown(&browser, "word");
        browser.close();
    });
}

fn many_rows(shown: Shown) {
    let dir = browser::numbered(500);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.wait("document.querySelectorAll('#tasks li').length >= 100");
        shown(&browser, "many");
        browser.press("sjs");
        browser.wait("!document.getElementById('selection').hidden");
        browser.press("f");
        browser.wait("!document.getElementById('more-fields').hidden");
        shown(&browser, "filters");
        browser.close();
    });
}

/// A task that somebody else changed, and a server that is gone while something is typed.
fn conflict(shown: Shown) {
    let dir = browser::numbered(2);
    let page = Page::start(&dir, &[]);
    let browser = Browser::open(&page.url);
    browser.at(FIRST);
    browser.press("e");
    browser.wait("document.activeElement.name === 'instruction'");
    browser.js("Object.defineProperty(document, 'hidden', { configurable: true, value: true })");
    ewe(
        &dir,
        &[
            "edit",
            "--db",
            "d.db",
            "216",
            "--instruction",
            "Explain this thing to a child.",
        ],
    )
    .success();
    browser.press("Mine.");
    browser.js("Object.defineProperty(document, 'hidden', { configurable: true, value: false })");
    browser.wait("document.querySelector('.conflict')");
    shown(&browser, "conflict");
    browser.js("[...document.querySelectorAll('.conflict button')].at(-1).click()");
    browser.wait("!document.querySelector('.conflict')");
    drop(page);
    browser.js("document.querySelector('textarea').focus()");
    browser.press("More.");
    browser.wait("document.querySelector('.state').textContent.startsWith('Not saved')");
    shown(&browser, "server-gone");
}

/// The dashboard with charts, curves and links, and the candidates.
fn views(shown: Shown) {
    let dir = filled();
    let metrics: Vec<String> = (1..=40)
        .map(|step| {
            let held_out = if step % 10 == 0 {
                format!(", \"eval_loss\": {}", 3.2 - 0.01 * f64::from(step))
            } else {
                String::new()
            };
            let before = if step == 1 {
                ", \"eval_loss_before\": 3.3"
            } else {
                ""
            };
            format!(
                "{{\"step\": {step}, \"loss\": {}, \"lr\": {}, \"memory\": {}{held_out}{before}}}",
                3.4 - 0.02 * f64::from(step),
                2e-4 * f64::from(40 - step) / 40.0,
                2_100_000_000 + 1_000_000 * step,
            )
        })
        .collect();
    std::fs::create_dir(dir.path("tuned")).unwrap();
    dir.write("tuned/metrics.jsonl", metrics.join("\n") + "\n");
    let config = json!({ "out": dir.path("tuned"), "took": "60 pending examples" });
    dir.sql(&format!(
        "insert into run (command, config, seed, model, status) values ('train', '{config}', 0, 'models/gemma', 'done')"
    ));
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.press("d");
        browser.wait("document.querySelectorAll('#training svg').length === 3");
        shown(&browser, "dashboard");
        browser.press("dw");
        browser.wait("document.querySelectorAll('#rejected li').length === 2");
        shown(&browser, "candidates");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn every_state_fits_and_is_readable_at_three_widths_in_both_themes() {
    walk(&|browser, name| {
        browser.picture(name);
        fits(browser);
        readable(browser);
    });
}

/// The rules of WCAG 2.2 at levels A and AA, and what axe-core finds good practice.
#[test]
#[ignore = "needs Chromium and axe-core: make check-axe"]
fn axe_finds_nothing_serious() {
    let path = std::env::var("EWE_AXE").expect("`make check-axe` sets it");
    let axe = std::fs::read_to_string(path).unwrap();
    walk(&|browser, name| {
        browser.js(&format!("if (!window.axe) {{ {axe} }}"));
        // Half faded in, a message has not its contrast yet.
        browser.wait("document.getAnimations().every((of) => of.playState !== 'running')");
        browser.js("window.found = null; axe.run().then((found) => { window.found = found.violations; })");
        browser.wait("window.found");
        let found = browser.js(
            "return found.map((rule) => [rule.impact, `${rule.id}: ${rule.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`])",
        );
        let found: Vec<(String, String)> = serde_json::from_value(found).unwrap();
        for (impact, rule) in &found {
            println!("{name}: {impact}: {rule}");
        }
        let serious = |of: &&(String, String)| matches!(of.0.as_str(), "serious" | "critical");
        let serious: Vec<_> = found.iter().filter(serious).collect();
        assert!(serious.is_empty(), "{name}: {serious:#?}");
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn charts_lead_to_the_tasks_that_they_count() {
    let dir = browser::numbered(12);
    ewe(&dir, &["accept", "--db", "d.db", "216-218"]).success();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(219);
        browser.press("d");
        browser.wait("document.querySelector('#chart-reviews a')");
        let count = |label: &str, tasks: &str| {
            let link = format!("document.querySelector('#chart-reviews a[aria-label=\"{label}\"]')");
            browser.wait(&link);
            browser.js(&format!("{link}.dispatchEvent(new MouseEvent('click', {{ bubbles: true, cancelable: true, view: window }}))"));
            browser.wait("document.getElementById('dashboard').hidden");
            browser.wait(&format!(
                "document.getElementById('count').textContent === '{tasks}'"
            ));
            browser.press("d");
            browser.wait("!document.getElementById('dashboard').hidden");
        };
        count("import, accepted: 3", "3 tasks");
        count("import, pending: 9", "9 tasks");
        let value: Value = browser.js("return document.querySelector('[name=origin]').value");
        assert_eq!(value, "import");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn curves_grow_while_a_run_is_at_work() {
    let dir = browser::numbered(2);
    let line = |step: u32| {
        format!(
            "{{\"step\": {step}, \"loss\": {}, \"lr\": 0.0002}}\n",
            3.0 - 0.1 * f64::from(step)
        )
    };
    std::fs::create_dir(dir.path("tuned")).unwrap();
    dir.write("tuned/metrics.jsonl", (1..=3).map(line).collect::<String>());
    let config = json!({ "out": dir.path("tuned") });
    dir.sql(&format!(
        "insert into run (command, config, seed, model, status) values ('train', '{config}', 0, 'm', 'running')"
    ));
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("d");
        browser.wait("document.querySelector('#training')?.innerText.includes('3 steps')");
        // Nothing is written to the dataset.
        dir.write("tuned/metrics.jsonl", (1..=9).map(line).collect::<String>());
        browser.wait("document.querySelector('#training').innerText.includes('9 steps')");
        assert!(
            browser.text("#training").contains("loss 2.100"),
            "{}",
            browser.text("#training")
        );
        browser.close();
    });
}
