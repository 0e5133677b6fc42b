//! Every key, and fifty rows without a mouse.

use serde_json::json;

use crate::{
    browser::{self, Browser, CONTROL, DOWN, ENTER, ESCAPE, Page, TAB, UP, looking},
    shell::Dir,
    support::{ewe, filled, number},
};

/// The first imported task.
const FIRST: i64 = 216;

fn review(dir: &Dir, id: i64) -> String {
    dir.sql(&format!("select review from task where id = {id}"))[0][0].clone()
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn fifty_rows_without_a_mouse() {
    let dir = browser::numbered(60);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| async {
        browser.at(FIRST).await;
        // As quickly as a browser takes them: every key is about the task after the one before.
        browser.press(&"aarar".repeat(10)).await;
        browser.at(FIRST + 50).await;
        let reviews =
            dir.sql("select task_id, action from revision where who = 'ann' and group_id = id order by id");
        let expected: Vec<[String; 2]> = (FIRST..)
            .zip("aarar".repeat(10).chars())
            .map(|(id, key)| {
                [
                    id.to_string(),
                    if key == 'a' { "accept" } else { "reject" }.into(),
                ]
            })
            .collect();
        assert_eq!(reviews, expected);
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            10
        );
        // The count follows, and the ten that are left come one after the other.
        browser
            .wait("document.getElementById('count').textContent === '10 tasks'")
            .await;
        browser.press("aaaaaaaaa").await;
        browser.at(FIRST + 59).await;
        browser.press("a").await;
        browser.says("That was the last one.").await;
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            0
        );
        browser.close().await;
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn every_key_of_the_queue() {
    let dir = browser::numbered(8);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| async {
        browser.at(FIRST).await;
        browser.press("j").await;
        browser.at(FIRST + 1).await;
        browser.press(&format!("{DOWN}{DOWN}{UP}")).await;
        browser.at(FIRST + 2).await;
        browser.press("kk").await;
        browser.at(FIRST).await;
        browser.press("k").await;
        browser.says("That is the first one.").await;

        browser.press("a").await;
        browser.at(FIRST + 1).await;
        assert_eq!(review(&dir, FIRST), "accepted");
        browser.press("r").await;
        browser.at(FIRST + 2).await;
        assert_eq!(review(&dir, FIRST + 1), "rejected");

        // With a reason: the field has the focus, Enter sends it.
        browser.press("R").await;
        browser.wait("document.querySelector('#reason[open]')").await;
        browser.press(&format!("too easy{ENTER}")).await;
        browser.at(FIRST + 3).await;
        assert_eq!(
            dir.sql("select action, note from revision order by id desc limit 1"),
            [["reject", "too easy"]]
        );
        // Esc leaves it as it was.
        browser.press("R").await;
        browser.wait("document.querySelector('#reason[open]')").await;
        browser.press(&ESCAPE.to_string()).await;
        browser.wait("!document.querySelector('dialog[open]')").await;
        assert_eq!(review(&dir, FIRST + 3), "pending");

        // Undo goes back to the task; redo does it again.
        browser.press("u").await;
        browser.at(FIRST + 2).await;
        assert_eq!(review(&dir, FIRST + 2), "pending");
        browser.press("uu").await;
        browser.at(FIRST).await;
        assert_eq!([0, 1, 2].map(|n| review(&dir, FIRST + n)), ["pending"; 3]);
        browser.press("UUU").await;
        browser.at(FIRST + 2).await;
        assert_eq!(
            [0, 1, 2].map(|n| review(&dir, FIRST + n)),
            ["accepted", "rejected", "rejected"]
        );
        // After a reload they can still be taken back.
        browser.reload().await;
        browser.press("u").await;
        browser.says(&format!("Undone: task {}", FIRST + 2)).await;

        // The queue anew: what was decided is gone from it.
        browser.press("g").await;
        browser
            .wait("document.querySelectorAll('#tasks li').length === 6")
            .await;

        // Search as one types; Esc goes back to the task, where keys are keys again.
        browser.press("/").await;
        browser.wait("document.activeElement.id === 'text'").await;
        browser.press("number 7").await;
        browser.at(FIRST + 6).await;
        browser
            .wait("document.getElementById('count').textContent === '1 task'")
            .await;
        browser.press(&format!("{ESCAPE}a")).await;
        browser.says(&format!("Task {} accepted", FIRST + 6)).await;

        // Clear everything: all 223 tasks.
        browser.press("c").await;
        browser
            .wait("document.getElementById('count').textContent === '223 tasks'")
            .await;

        browser.press("f").await;
        browser
            .wait("document.activeElement.closest('#more-fields')")
            .await;
        browser.press(&ESCAPE.to_string()).await;
        browser
            .wait("document.getElementById('more-fields').hidden")
            .await;

        browser.press("?").await;
        browser.wait("document.querySelector('#help[open]')").await;
        // Whatever the help names, the page has, and the other way round.
        let named = browser
            .js("return [...document.querySelectorAll('#help kbd')].map((key) => key.textContent).sort().join(' ')")
            .await;
        assert_eq!(
            named,
            "/ ? Ctrl Enter Esc Esc R Shift Shift U a b c d e f g j k m p r t u x"
        );
        browser.press(&ESCAPE.to_string()).await;

        browser.press("d").await;
        browser
            .wait("document.querySelectorAll('#dashboard svg').length >= 5")
            .await;
        // Nothing can be decided that is not seen.
        browser.press("ar").await;
        browser.press("d").await;
        browser.wait("document.getElementById('dashboard').hidden").await;
        assert_eq!(
            number(&dir, "select count(*) from revision where task_id < 216"),
            0
        );
        browser.close().await;
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn where_a_task_came_from() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| async {
        let id = number(&dir, "select min(id) from task where origin = 'machine'");
        browser.at(id).await;
        browser.press("p").await;
        browser
            .wait("document.getElementById('trail').innerText.includes('Come up with tasks:')")
            .await;
        let trail = browser.text("#trail").await;
        assert!(
            trail.contains("1. Name an animal.\n2. List late invoices."),
            "{trail}"
        );
        // The nearest tasks are beside it, with the words marked that are not in this one.
        let neighbour = dir.sql("select instruction from task where id = 1")[0][0].clone();
        assert!(browser.text("#beside").await.contains(&neighbour));
        let script = "return [...document.querySelectorAll('#beside .near:first-of-type mark')].map((m) => m.textContent.toLowerCase())";
        let marked = browser.js(script).await;
        let words = |text: &str| -> Vec<String> {
            let words = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect()
        };
        let ours = words("Name an animal. <script>alert(1)</script>");
        let others: Vec<String> = words(&neighbour)
            .into_iter()
            .filter(|word| !ours.contains(word))
            .collect();
        assert!(
            !others.is_empty() && others.len() < words(&neighbour).len(),
            "{neighbour}"
        );
        let marked: Vec<&str> = marked
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|word| word.as_str())
            .collect();
        assert!(
            others.iter().all(|word| marked.contains(&word.as_str())),
            "{marked:?} {others:?}"
        );
        // What a judge said.
        assert!(
            browser
                .text("#task")
                .await
                .contains("2 of 5 by critic: A <b>ewe</b> is one animal")
        );
        browser.close().await;
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn all_of_a_filter_and_back() {
    let dir = browser::numbered(30);
    let page = Page::start(&dir, &[]);
    looking(&page, |browser| async {
        browser.at(FIRST).await;
        browser.press("/").await;
        browser.press("number 2").await;
        browser
            .wait("document.getElementById('count').textContent === '11 tasks'")
            .await;
        browser.press(&format!("{ESCAPE}b")).await;
        browser.wait("document.querySelector('#bulk[open]')").await;
        assert_eq!(
            browser.text("#bulk-count").await,
            "11 tasks: “number 2”, review pending."
        );
        // The number changes behind its back: nothing happens before it was seen.
        browser::import(&dir, &[["Explain thing number 200.", "", "x"]]);
        browser.press(&format!(" {TAB}far off{ENTER}")).await;
        browser
            .wait("document.getElementById('bulk-count').textContent.startsWith('12 tasks')")
            .await;
        assert_eq!(number(&dir, "select count(*) from revision"), 0);
        browser.press(&format!(" {TAB}far off{ENTER}")).await;
        browser.says("12 tasks accepted. u takes it back.").await;
        assert_eq!(
            dir.sql("select count(*), count(distinct group_id), min(note) from revision"),
            [["12", "1", "far off"]]
        );
        assert_eq!(
            number(
                &dir,
                "select count(*) from task where review = 'accepted' and origin = 'import'"
            ),
            12
        );
        browser
            .wait("document.getElementById('count').textContent === '0 tasks'")
            .await;
        browser.press("u").await;
        browser.says("Undone: 12 tasks.").await;
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            31
        );
        browser.press("U").await;
        browser.says("Redone: 12 tasks.").await;
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            19
        );
        // Cancelled, nothing happens.
        browser.press(&format!("cb{ESCAPE}")).await;
        browser.wait("!document.querySelector('dialog[open]')").await;
        assert_eq!(
            number(&dir, "select count(*) from task where review = 'pending'"),
            19
        );
        browser.close().await;
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_edit_saves_itself_and_is_one_step() {
    let dir = browser::numbered(3);
    let page = Page::start(&dir, &[]);
    let text = || {
        dir.sql(&format!(
            "select instruction, output from task join instance on task_id = task.id where task.id = {FIRST}"
        ))
    };
    looking(&page, |browser| async {
        browser.at(FIRST).await;
        let before = text();
        browser.press("e").await;
        browser
            .wait("document.activeElement.name === 'instruction'")
            .await;
        // Keys are letters here.
        browser.press_with(CONTROL, 'a').await;
        browser.press("Say a").await;
        browser
            .wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        assert_eq!(text()[0][0], "Say a");
        browser.press("rue").await;
        browser
            .wait("document.querySelector('.state').textContent === '…'")
            .await;
        browser
            .wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        assert_eq!(text()[0][0], "Say arue");
        browser.press(&format!("{TAB}{TAB}")).await;
        browser.wait("document.activeElement.name === 'output 0'").await;
        browser.press_with(CONTROL, 'a').await;
        browser.press("b").await;
        browser
            .wait("document.querySelector('.state').textContent === 'Saved.'")
            .await;
        // Left at once: the last letters are saved, too.
        browser.press(&format!("c{ESCAPE}")).await;
        browser.wait("!document.querySelector('#task textarea')").await;
        assert_eq!(text(), [["Say arue", "bc"]]);
        assert_eq!(
            dir.sql("select count(*) > 3, count(distinct group_id) from revision"),
            [["1", "1"]]
        );
        browser.press("u").await;
        browser.says(&format!("Undone: task {FIRST}")).await;
        assert_eq!(text(), before);
        browser.press("U").await;
        browser.says(&format!("Redone: task {FIRST}")).await;
        assert_eq!(text(), [["Say arue", "bc"]]);
        // What a task needs cannot be taken away, and what was typed is not lost by leaving.
        browser.press("e").await;
        browser.press_with(CONTROL, 'a').await;
        browser.press(&format!(" {ESCAPE}")).await;
        browser.says("Not saved: the instruction is empty").await;
        assert!(
            browser
                .js("return document.querySelector('#task textarea') !== null")
                .await
                .as_bool()
                .unwrap()
        );
        browser.js("[...document.querySelectorAll('#task button')].find((b) => b.textContent === 'Put everything back').click()").await;
        browser
            .wait("document.querySelector('.state').textContent.startsWith('Save')")
            .await;
        browser.press_with(CONTROL, ENTER).await;
        browser.wait("!document.querySelector('#task textarea')").await;
        assert_eq!(text(), [["Say arue", "bc"]]);
        browser.close().await;
    });
}

#[test]
#[ignore = "needs Chromium: make test-browser"]
fn an_export_is_saved_as_a_file() {
    let dir = browser::numbered(40);
    ewe(&dir, &["accept", "--db", "d.db", "216-230"]).success();
    let page = Page::start(&dir, &["--token", "open sesame"]);
    looking(&page, |browser: Browser| async move {
        // The token is not left in the address.
        browser.wait("location.hash === '#task=231'").await;
        let folder = dir.path("downloads");
        let behavior = json!({ "behavior": "allow", "downloadPath": folder.to_str().unwrap() });
        browser.devtools("Browser.setDownloadBehavior", behavior).await;
        browser.press("x").await;
        browser.wait("document.querySelector('#export[open]')").await;
        // The second format, and Enter.
        browser.press(&format!("{DOWN}{TAB}{TAB}{TAB}{ENTER}")).await;
        browser.says("The download has begun.").await;
        let file = folder.join("dolly.jsonl");
        let start = std::time::Instant::now();
        while !file.exists() {
            assert!(start.elapsed().as_secs() < 20, "nothing was downloaded");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let out = [
            "export",
            "--db",
            "d.db",
            "--format",
            "dolly",
            "--review",
            "accepted",
            "--out",
            "ours.jsonl",
        ];
        ewe(&dir, &out).success();
        assert_eq!(std::fs::read_to_string(file).unwrap(), dir.read("ours.jsonl"));
        browser.close().await;
    });
}
