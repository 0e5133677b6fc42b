//! Conversations on the page: turns laid out, edited, added, removed, and taken back.

use serde_json::json;

use crate::{
    browser::{ESCAPE, Page, looking},
    looks::{fits, readable},
    shell::Dir,
    support::ewe,
};

const FIRST: i64 = 216;

/// What is shown of the later messages, one a line.
const LATER: &str = "return [...document.querySelectorAll('#task .conversation li .text')].map((text) => text.textContent).join('|')";

fn talk() -> Dir {
    let dir = Dir::with_dataset();
    let say = |role: &str, content: &str| json!({ "role": role, "content": content });
    let thought = json!({ "role": "assistant", "content": "Como", "reasoning_content": "Lakes of Italy." });
    let messages = [
        say("system", "Be brief."),
        say("user", "Name a river."),
        say("assistant", "Nile"),
        say("user", "And a lake?"),
        thought,
        say("user", "And a sea?"),
        say("assistant", "Baltic"),
    ];
    dir.write("rows.jsonl", json!({ "messages": messages }).to_string());
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
    dir
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn turns_are_added_removed_and_taken_back() {
    let dir = talk();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        let later = "And a lake?|Lakes of Italy.|Como|And a sea?|Baltic";
        assert_eq!(
            browser
                .js(LATER)
                .as_str()
                .unwrap()
                .replace("Lakes of Italy.|", ""),
            later.replace("Lakes of Italy.|", "")
        );
        for (width, theme) in [(1600, "light"), (1000, "dark"), (400, "light"), (400, "dark")] {
            browser.size(width, 900);
            browser.theme(theme);
            fits(&browser);
            readable(&browser);
            browser.picture(&format!("conversation-{width}-{theme}"));
        }
        browser.size(1200, 900);
        let shown = browser.js(LATER);
        browser.js("document.querySelector('#task .remove').click()");
        browser.says("Turn removed.");
        assert_eq!(browser.js(LATER), "And a sea?|Baltic");
        browser.js("document.querySelector('#task .add-turn').click()");
        browser.wait("document.activeElement.name === 'question'");
        browser.picture("conversation-add");
        browser.press("A hill?\tEtna");
        browser.js("document.querySelector('#turn button[value=yes]').click()");
        browser.says("Turn added.");
        assert_eq!(browser.js(LATER), "And a sea?|Baltic|A hill?|Etna");
        browser.press("u");
        browser.wait("!document.body.innerText.includes('Etna')");
        browser.press("u");
        browser.wait("document.body.innerText.includes('Como')");
        assert_eq!(browser.js(LATER), shown);
        // A dismissed dialog adds nothing.
        browser.js("document.querySelector('#task .add-turn').click()");
        browser.wait("document.querySelector('#turn').open");
        browser.press(&ESCAPE.to_string());
        browser.wait("!document.querySelector('#turn').open");
        assert_eq!(browser.js(LATER), shown);
        browser.close();
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn a_turn_that_others_changed_is_not_removed_unseen() {
    let dir = talk();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| {
        browser.at(FIRST);
        ewe(&dir, &["edit", "--db", "d.db", "216", "--turn", "1=Garda"]).success();
        browser.js("document.querySelector('#task .remove').click()");
        browser.says("changed meanwhile");
        assert!(browser.text("#task").contains("Garda"));
        browser.close();
    });
}
