//! The view `/compare`: two anonymous answers, judged by keys or by touch.

use serde_json::json;

use crate::{
    browser::{Browser, Page, looking},
    looks::{fits, readable},
    mock::Mock,
    shell::Dir,
    support::{ewe, number},
};

const HOSTILE: &str = "<img src=x onerror=\"window.pwned = 1\"> A longer answer.";

/// A dataset with a comparison of so many pairs: model a says "Short.", b something hostile.
fn compared(pairs: usize) -> Dir {
    let dir = Dir::with_dataset();
    let (a, b) = (Mock::start(), Mock::start());
    a.say("", "Short.", "stop");
    b.say("", HOSTILE, "stop");
    let rows: Vec<String> = (0..pairs)
        .map(|n| json!({"instruction": format!("Describe thing {n}."), "output": ""}).to_string())
        .collect();
    dir.write("rows.jsonl", rows.join("\n"));
    let (a, b) = (format!("{}#first", a.url), format!("{}#second", b.url));
    let line = [
        "compare",
        "--a",
        &a,
        "--b",
        &b,
        "--no-judge",
        "--api",
        "completions",
        "--data",
        "rows.jsonl",
        "--db",
        "d.db",
        "--out",
        "result.json",
    ];
    ewe(&dir, &line).success();
    dir
}

/// A page of comparisons.
struct Compare(Page);

impl Compare {
    fn start(dir: &Dir) -> Compare {
        let mut page = Page::start(dir, &[]);
        page.url.push_str("compare");
        Compare(page)
    }
}

fn at(browser: &Browser, place: &str) {
    browser.wait(&format!(
        "document.getElementById('count').textContent === '{place}'"
    ));
}

/// The text of the answer on a side.
fn answer(browser: &Browser, side: &str) -> String {
    browser.text(&format!(".answer[aria-label='{side} answer'] .text"))
}

fn latest(dir: &Dir) -> String {
    dir.sql("select choice from comparison_vote order by id desc limit 1")[0][0].clone()
}

/// Whose answer is shown on the left.
fn left(browser: &Browser) -> &'static str {
    if answer(browser, "Left") == "Short." {
        "a"
    } else {
        "b"
    }
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn pairs_are_voted_on_by_keys_and_models_are_named_at_the_end() {
    let dir = compared(4);
    let page = Compare::start(&dir);
    looking(&page.0, |browser| {
        at(&browser, "1 of 4");
        let texts = [answer(&browser, "Left"), answer(&browser, "Right")];
        assert!(
            texts.contains(&"Short.".to_owned()) && texts.contains(&HOSTILE.to_owned()),
            "{texts:?}"
        );
        let names =
            "return ['first', 'second', 'http'].filter((name) => document.body.innerText.includes(name))";
        assert_eq!(browser.js(names), json!([]));
        let (on_left, prompt) = (left(&browser), browser.text(".question"));
        browser.press("1");
        at(&browser, "2 of 4");
        assert_eq!(latest(&dir), on_left);
        assert_ne!(browser.text(".question"), prompt);

        // Vote again: the pair is as it was, and the later vote counts.
        browser.press("u");
        at(&browser, "1 of 4");
        assert_eq!((left(&browser), browser.text(".question")), (on_left, prompt));
        browser.wait("document.querySelector('.votes [aria-pressed=true]').textContent.startsWith('Left')");
        browser.press("2");
        at(&browser, "2 of 4");
        assert_ne!(latest(&dir), on_left);
        assert_eq!(number(&dir, "select count(*) from comparison_vote"), 2);
        browser.press("0");
        at(&browser, "3 of 4");
        assert_eq!(latest(&dir), "tie");
        // Other keys do nothing.
        browser.press("ajx3");
        assert_eq!(number(&dir, "select count(*) from comparison_vote"), 3);

        // A reloaded page goes on, and u still leads back.
        browser.reload();
        at(&browser, "3 of 4");
        browser.press("u");
        at(&browser, "2 of 4");
        browser.press("0");
        at(&browser, "3 of 4");
        browser.press("1");
        at(&browser, "4 of 4");
        browser.wait("document.querySelector('.answers')");
        browser.press("0");
        browser.wait("document.querySelector('.end')");
        let end = browser.text(".end");
        for words in [
            "That was the last pair.",
            "first at http://",
            "second at http://",
            "There was no judge.",
        ] {
            assert!(end.contains(words), "{words}: {end}");
        }
        let cells = browser
            .js("return [...document.querySelectorAll('.end td')].map((cell) => Number(cell.textContent))");
        let counts = |choice: &str| {
            number(
                &dir,
                &format!(
                    "select count(*) from comparison_vote v where choice = '{choice}' and id = (select max(id) from comparison_vote w where w.pair_id = v.pair_id)"
                ),
            )
        };
        assert_eq!(cells, json!([counts("a"), counts("b"), counts("tie")]));
        // From the end, too.
        browser.press("u");
        at(&browser, "4 of 4");
        browser.wait("document.querySelector('.answers')");
        browser.press("2");
        browser.wait("document.querySelector('.end')");
        assert_eq!(browser.js("return typeof window.pwned"), "undefined");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn the_view_works_by_touch_at_400_pixels() {
    let dir = compared(2);
    let page = Compare::start(&dir);
    looking(&page.0, |browser| {
        for theme in ["light", "dark"] {
            browser.theme(theme);
            browser.size(1200, 900);
            at(&browser, "1 of 2");
            fits(&browser);
            readable(&browser);
            browser.picture(&format!("compare-1200-{theme}"));
            browser.size(400, 800);
            fits(&browser);
            readable(&browser);
            browser.picture(&format!("compare-400-{theme}"));
        }
        // Fingers need 44 pixels, and the buttons are in sight below a long answer.
        let low = "return [...document.querySelectorAll('.votes button')].filter((e) => e.getBoundingClientRect().height < 44 \
            || e.getBoundingClientRect().bottom > innerHeight + 1).length";
        assert_eq!(browser.js(low), 0);
        let on_left = left(&browser);
        browser.js("document.querySelector('.votes button').click()");
        at(&browser, "2 of 2");
        assert_eq!(latest(&dir), on_left);
        browser.js("[...document.querySelectorAll('.votes button')].at(-1).click()");
        browser.wait("document.querySelector('.end')");
        fits(&browser);
        readable(&browser);
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn comparisons_are_listed_and_linked_from_the_tasks() {
    let dir = compared(2);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.wait("!document.getElementById('compare-link').hidden");
        browser.js("document.getElementById('compare-link').click()");
        at(&browser, "1 of 2");
        assert_eq!(
            browser.js("return document.getElementById('list-button').hidden"),
            true
        );
        browser.close();
    });
    drop(page);
    let none = Dir::with_dataset();
    let page = Compare::start(&none);
    looking(&page.0, |browser| {
        at(&browser, "0 comparisons");
        assert!(browser.text("main").contains("Nothing to compare."));
        browser.close();
    });
}
