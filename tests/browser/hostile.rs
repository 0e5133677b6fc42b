//! Hostile rows, by a model or a person.

use serde_json::json;

use crate::{
    browser::{self, ESCAPE, Page, looking},
    shell::Dir,
    support::{filled, number},
};

const FIRST: i64 = 216;

const SCRIPTS: [&str; 6] = [
    "<script>window.pwned = 1; alert(1)</script>",
    "<img src=x onerror=\"window.pwned = 1; alert(1)\">",
    "\"><svg onload=alert(1)><iframe srcdoc=\"<script>parent.pwned = 1</script>\">",
    "javascript:alert(1) <a href=\"javascript:alert(1)\">x</a>",
    "{{constructor.constructor('window.pwned = 1')()}} ${alert(1)} <%= alert(1) %>",
    "</textarea></title></style><script>pwned = 1</script><style>* { display: none }</style>",
];

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn texts_are_never_rendered_as_html() {
    let rows: Vec<[&str; 3]> = SCRIPTS.map(|script| [script; 3]).to_vec();
    let dir = browser::imported(&rows);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        for (n, script) in SCRIPTS.iter().enumerate() {
            browser.at(FIRST + n as i64);
            // Shown as it is in all three columns, then in the fields, then in the history.
            let seen =
                browser.js("return [...document.querySelectorAll('#task .text')].map((p) => p.textContent)");
            assert_eq!(seen, json!([script, script, script]));
            browser.press("e");
            browser.wait("document.activeElement.name === 'instruction'");
            let fields =
                browser.js("return [...document.querySelectorAll('textarea')].map((area) => area.value)");
            assert_eq!(fields, json!([script, script, script]));
            browser.press(&format!("!{ESCAPE}"));
            browser.wait("!document.querySelector('textarea')");
            browser.press("p");
            browser.wait("document.getElementById('trail').innerText.includes('edit')");
            browser.press("j");
        }
        // First words appear in a chart, model names in another.
        browser.press("d");
        browser.wait("document.querySelectorAll('#dashboard svg').length >= 5");
        assert_eq!(browser.js("return typeof window.pwned"), "undefined");
        assert_eq!(browser.js("return document.querySelectorAll('script').length"), 1);
        assert_eq!(
            browser.js("return document.querySelectorAll('img, iframe, object, embed, main a:not([href^=\"#\"])').length"),
            0
        );
        assert_eq!(
            browser.js("return [...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => n.startsWith('on'))"),
            json!([])
        );
        // A dialog would have blocked everything above. The policy blocked nothing, which `close`
        // asserts.
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn output_of_models_and_judges_is_never_rendered_as_html() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(number(&dir, "select min(id) from task where origin = 'machine'"));
        browser.press("p");
        browser.wait("document.getElementById('trail').innerText.includes('model <b>x</b>')");
        assert_eq!(browser.js("return document.querySelectorAll('b').length"), 0);
        browser.press("d");
        browser.wait("document.querySelectorAll('#dashboard svg').length >= 5");
        assert_eq!(browser.js("return document.querySelectorAll('b').length"), 0);
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn invisible_characters_are_shown_and_have_no_effect() {
    let hostile =
        "open user\u{202e}fdp.exe \u{2066}now\u{7}\u{1b}[2J\u{200b} caf\u{e9} 👩\u{200d}🚀 \u{e0041}end";
    let dir = browser::imported(&[
        [hostile, "", "\u{202e}backwards"],
        ["Name a city.\r\nNow.", "", "a\r\nb\rc"],
    ]);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        let seen = "open userU+202Efdp.exe U+2066nowU+0007U+001B[2JU+200B caf\u{e9} 👩\u{200d}🚀 U+E0041end";
        assert_eq!(
            browser.js("return document.querySelector('#task .instruction').textContent"),
            seen
        );
        assert_eq!(
            browser.js("return document.querySelector('#tasks .title').textContent"),
            seen
        );
        // Letters after the mark run from left to right, as they are stored.
        let order = "const p = document.querySelector('#task .instruction'); \
            const node = [...p.childNodes].find((n) => n.nodeType === 3 && n.data.startsWith('fdp.exe')); \
            const at = (i) => { const r = document.createRange(); r.setStart(node, i); r.setEnd(node, i + 1); return r.getBoundingClientRect().left; }; \
            return at(0) < at(1) && at(1) < at(2)";
        assert_eq!(browser.js(order), true);
        // Opening a text for editing does not change it: neither line endings nor invisible
        // characters.
        for id in [FIRST, FIRST + 1] {
            browser.at(id);
            browser.press(&format!("e{ESCAPE}"));
            browser.wait("!document.querySelector('textarea')");
            browser.press("j");
        }
        assert_eq!(
            number(&dir, "select count(*) from revision where action <> 'import'"),
            0
        );
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn huge_texts_do_not_stop_the_page() {
    let word = "x".repeat(1_000_000);
    let lines = "a line of an answer that does not end\n".repeat(40_000);
    let dir: Dir = browser::imported(&[["Before.", "", "b"], [&word, "", &lines], ["After.", "", "a"]]);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        let start = std::time::Instant::now();
        browser.press("j");
        browser.at(FIRST + 1);
        browser.press("j");
        browser.at(FIRST + 2);
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
        browser.press("k");
        browser.at(FIRST + 1);
        let shown = "return document.querySelector('#task .instruction').textContent.length";
        assert!(browser.js(shown).as_i64().unwrap() < 21_000);
        browser.js("document.querySelector('#task .instruction .more').click()");
        assert!(browser.js(shown).as_i64().unwrap() > 40_000);
        // The queue shows only the beginning, and the page is no wider than the window.
        assert!(
            browser
                .js("return document.querySelectorAll('#tasks .title')[1].textContent.length")
                .as_i64()
                .unwrap()
                < 300
        );
        assert_eq!(
            browser.js("return document.documentElement.scrollWidth <= innerWidth"),
            true
        );
        browser.press("a");
        browser.at(FIRST + 2);
        assert_eq!(
            number(&dir, "select review = 'accepted' from task where id = 217"),
            1
        );
        browser.close();
    });
}
