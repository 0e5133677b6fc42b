//! Reading: Markdown on a key, long texts, marked words, similar tasks side by side.

use serde_json::json;

use crate::{
    browser::{self, ESCAPE, Page, looking},
    looks::{fits, readable},
    support::filled,
};

const FIRST: i64 = 216;

const MARKDOWN: &str = "# Sheep\n\nA **ewe** is `female`. <script>window.pwned = 1</script>\n\n\
    | animal | legs |\n|---|---:|\n| ewe | 4 |\n\n1. shear\n2. spin\n   - slowly\n\n\
    ```python\ndef count(n):  # all of them\n    return \"sheep\" * n\n```\n\n\
    [a link](https://example.org/x) ![a picture](https://example.org/y.png)\n\n> <img src=x onerror=alert(1)>";

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn markdown_is_rendered_on_a_key_and_never_obeyed() {
    let wide = format!(
        "| {} |\n|{}\n| {} |",
        "a | ".repeat(40),
        "---|".repeat(41),
        "cell | ".repeat(40)
    );
    let dir = browser::imported(&[
        ["Describe sheep.", "", MARKDOWN],
        ["Draw a wide table.", "", &wide],
    ]);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        let output = "return document.querySelector('#task .instance .text').textContent";
        assert_eq!(browser.js(output), MARKDOWN);
        browser.press("v");
        browser.wait("document.querySelector('#task .rendered table')");
        let count = |selector: &str| {
            browser
                .js(&format!(
                    "return document.querySelectorAll('#task .rendered {selector}').length"
                ))
                .as_i64()
                .unwrap()
        };
        for (selector, expected) in [
            ("strong", 1),
            ("th", 2),
            ("td.to-right", 1),
            ("ol > li", 2),
            ("li ul li", 1),
            ("pre .code-word", 2),
            ("pre .code-comment", 1),
            ("pre .code-string", 1),
            ("blockquote", 1),
            // Nothing of a row is obeyed or followed.
            (":is(script, img, a, iframe)", 0),
        ] {
            assert_eq!(count(selector), expected, "{selector}");
        }
        let shown = browser.text("#task .rendered:not(.instruction)");
        assert!(
            shown.contains("<script>window.pwned = 1</script>") && shown.contains("<img src=x"),
            "{shown}"
        );
        assert!(shown.contains("a link (https://example.org/x)"), "{shown}");
        assert_eq!(browser.js("return typeof window.pwned"), "undefined");
        browser.press("j");
        browser.at(FIRST + 1);
        for (width, height) in [(1600, 1000), (1000, 800), (400, 900)] {
            browser.size(width, height);
            for theme in ["light", "dark"] {
                browser.theme(theme);
                browser.picture(&format!("rendered-{width}-{theme}"));
                fits(&browser);
                readable(&browser);
            }
        }
        // The choice is remembered, and the text is what it was.
        browser.reload();
        browser.wait("document.querySelector('#task .rendered table')");
        browser.press("vk");
        browser.at(FIRST);
        assert_eq!(browser.js(output), MARKDOWN);
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn long_texts_are_folded_and_decisions_stay_in_sight() {
    let long = "A sentence about sheep. ".repeat(800);
    let dir = browser::imported(&[["Write at length.", "", &long], ["Another.", "", "short"]]);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        assert_eq!(browser.text("#task .instance .length"), "19,200 characters");
        let height = || {
            browser
                .js("return document.querySelector('#task .instance .text').clientHeight")
                .as_i64()
                .unwrap()
        };
        assert!(height() < 500);
        browser.js("document.querySelector('#task .unfold').click()");
        assert!(height() > 1000);
        browser.js("document.getElementById('task').scrollTo({ top: 100_000 })");
        let in_sight = "(() => { const b = document.querySelector('[aria-keyshortcuts=a]').getBoundingClientRect(); \
            return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2)?.closest('[aria-keyshortcuts=a]'); })()";
        browser.wait(in_sight);
        browser.size(400, 900);
        browser.js("window.scrollTo({ top: 3000 })");
        browser.wait(in_sight);
        browser.size(1600, 1000);
        // Unfolded, it stays so.
        browser.press("jk");
        browser.at(FIRST);
        assert!(height() > 1000);
        // A copy is the whole text.
        browser.js(
            "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }",
        );
        browser.js("document.querySelector('#task .instance .copy').click()");
        browser.says("Output copied.");
        assert_eq!(browser.js("return window.copied"), json!(long));
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn what_is_searched_for_is_marked() {
    let dir = browser::imported(&[["Visit the Café, then e-mail us.", "", "The cafe emails."]]);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        browser.press("/");
        browser.press("cafe \"e mail\" emai");
        let marks = |selector: &str| {
            browser.js(&format!(
                "return [...document.querySelectorAll('{selector} mark.hit')].map((mark) => mark.textContent)"
            ))
        };
        browser.wait("document.querySelectorAll('#task mark.hit').length === 4");
        assert_eq!(marks("#task"), json!(["Café", "e-mail", "cafe", "emails"]));
        assert_eq!(marks("#tasks"), json!(["Café", "e-mail"]));
        browser.press(&format!("{ESCAPE}c"));
        browser.wait("document.querySelectorAll('mark.hit').length === 0");
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_similar_task_is_shown_side_by_side_and_opened() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        let id = crate::support::number(&dir, "select min(id) from task where origin = 'machine'");
        browser.at(id);
        browser.press("n");
        browser.wait("document.getElementById('side-by-side')");
        let shown = browser.text("#side-by-side");
        assert!(
            shown.contains("task 1") && shown.contains("OUTPUT") || shown.contains("Output"),
            "{shown}"
        );
        browser.picture("side-by-side");
        fits(&browser);
        readable(&browser);
        browser.press("n");
        browser.wait("document.getElementById('side-by-side').textContent.includes('task 2')");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.getElementById('side-by-side')");
        browser.js("document.querySelector('#beside a').click()");
        browser.at(1);
        browser.js("history.back()");
        browser.at(id);
        browser.close();
    });
}
