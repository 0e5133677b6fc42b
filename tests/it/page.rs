//! The API of `ewe curate`, as a browser and as an outsider would call it.

use std::{
    io::{BufRead, BufReader},
    process::Child,
};

use serde_json::{Value, json};

use crate::{
    shell::{Dir, signal},
    support::{add_influence, block_on, ewe, filled, number, spawn},
};

/// A running `ewe curate`.
pub struct Page {
    child: Child,
    pub url: String,
    client: reqwest::Client,
}

impl Page {
    pub fn start(dir: &Dir, rest: &[&str]) -> Page {
        let mut child = spawn(
            dir,
            &[&["curate", "--db", "d.db", "--bind", "127.0.0.1:0"], rest].concat(),
        );
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .split_once("/#")
            .map_or(line.trim().trim_end_matches('/'), |(url, _)| url)
            .to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        Page {
            child,
            url,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.url)))
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.client.post(format!("{}{path}", self.url)).json(body))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (
                status,
                serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null),
            )
        })
    }

    /// How many sockets the server has open.
    pub fn sockets(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        // A file that was closed meanwhile leads nowhere.
        let leads_to = open
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok());
        leads_to
            .filter(|to| to.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Ends it as Ctrl-C does; returns the exit code.
    fn stop(mut self) -> i32 {
        signal(self.child.id(), "INT");
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_api_lists_reviews_edits_and_undoes() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    let id = number(&dir, "select max(id) from task") - 1;
    let filter = r#"{"review":"pending","origin":"machine","text":"anim*"}"#;
    let (_, queue) = page.get(&format!("/api/tasks?filter={filter}&sort=newest"));
    assert_eq!(queue["tasks"][0]["id"], id);
    let (_, counted) = page.get(&format!("/api/count?filter={filter}"));
    assert_eq!(counted, json!({ "count": 1 }));
    let (_, task) = page.get(&format!("/api/tasks/{id}"));
    assert_eq!(
        (&task["version"], &task["neighbors"][0]["id"]),
        (&json!(0), &json!(1))
    );
    let (_, trail) = page.get(&format!("/api/tasks/{id}/trail"));
    assert_eq!(trail["provenance"][0]["prompt"], "Come up with tasks:");

    let review = |verdict: Value| page.post(&format!("/api/tasks/{id}/review"), &verdict);
    let (status, answer) = review(json!({ "review": "rejected", "version": 0, "note": "silly" }));
    assert_eq!(status, 200);
    let rejection = answer["change"]["group"].clone();
    assert_eq!(
        dir.sql("select action, who, note from revision order by id desc limit 1"),
        [["reject", "ann", "silly"]]
    );
    // A user who still sees the old version may neither review nor overwrite, and receives the new
    // one.
    let (status, answer) = review(json!({ "review": "accepted", "version": 0 }));
    assert_eq!((status, &answer["current"]["review"]), (409, &json!("rejected")));
    let edit = |edit: &Value| page.post(&format!("/api/tasks/{id}/edit"), edit);
    let mut change =
        json!({ "version": 0, "instruction": "Mine.", "instances": [{ "ordinal": 0, "output": "a ram" }] });
    let (status, answer) = edit(&change);
    assert_eq!((status, &answer["current"]["review"]), (409, &json!("rejected")));
    change["version"] = answer["current"]["version"].clone();
    let (status, answer) = edit(&change);
    assert_eq!(status, 200);
    let texts = || {
        dir.sql(&format!("select instruction, output, review from task join instance on task_id = task.id where task.id = {id}"))
    };
    assert_eq!(texts(), [["Mine.", "a ram", "rejected"]]);
    // A later save of the same session belongs to the same action.
    let group = answer["change"]["group"].clone();
    let later = json!({
        "version": answer["version"], "group": group, "instruction": "Mine, too.",
        "instances": [{ "ordinal": 0, "input": "in" }],
    });
    let (status, answer) = edit(&later);
    assert_eq!((status, &answer["change"]["group"]), (200, &group));
    assert_eq!(texts(), [["Mine, too.", "a ram", "rejected"]]);
    let undo = |which: Value| page.post("/api/undo", &which);
    let (_, undone) = undo(json!({ "group": group }));
    assert_eq!(
        texts()[0][..2],
        ["Name an animal. <script>alert(1)</script>", "a ewe"]
    );
    undo(json!({ "group": undone["change"]["group"] }));
    assert_eq!(texts(), [["Mine, too.", "a ram", "rejected"]]);
    // After an undo, a save is an action of its own.
    let (_, latest) = page.get("/api/latest");
    assert_eq!(latest["action"]["group"], group);
    undo(json!({}));
    let (_, task) = page.get(&format!("/api/tasks/{id}"));
    let late = json!({ "version": task["version"], "group": group, "instruction": "Late." });
    let (_, answer) = edit(&late);
    assert_ne!(answer["change"]["group"], group);
    undo(json!({}));
    assert_eq!(undo(json!({ "group": rejection })).0, 200);
    assert_eq!(
        texts(),
        [["Name an animal. <script>alert(1)</script>", "a ewe", "pending"]]
    );
    page.post("/api/redo", &json!({}));
    assert_eq!(texts()[0][2], "rejected");

    let (_, board) = page.get("/api/dashboard");
    assert_eq!(
        board["figures"]["dataset"]["examples"],
        number(&dir, "select count(*) from dataset")
    );
    assert!(board["charts"].as_array().unwrap().len() >= 5);
    assert_eq!(page.stop(), 130);
}

#[test]
fn influence_and_difficulty_are_shown_sorted_and_filtered_by() {
    let dir = Dir::with_dataset();
    add_influence(&dir);
    let page = Page::start(&dir, &[]);
    let figures = |id: i64| page.get(&format!("/api/tasks/{id}")).1["figures"].clone();
    let of = |id: i64, value: f64| {
        let instruction = &page.get(&format!("/api/tasks/{id}")).1["instruction"];
        let beginning: String = instruction.as_str().unwrap().chars().take(300).collect();
        json!({ "task_id": id, "instruction": beginning, "value": value })
    };
    // Those of the run that came to its end.
    assert_eq!(
        figures(1),
        json!([{ "ordinal": 0, "influence": 0.25, "ifd": 0.25, "on": [of(5, 0.75), of(6, -0.25)] }])
    );
    assert_eq!(
        figures(2),
        json!([{ "ordinal": 0, "influence": -0.125, "ifd": null, "on": [of(6, -0.5)] }])
    );
    assert_eq!(figures(3), json!([]));
    // A held-out task names them, the other way round.
    let by = |id: i64| page.get(&format!("/api/tasks/{id}")).1["influenced_by"].clone();
    assert_eq!(
        [by(6), by(5), by(1)],
        [
            json!([of(1, -0.25), of(2, -0.5)]),
            json!([of(1, 0.75)]),
            json!([])
        ]
    );
    let tasks = |query: &str| page.get(&format!("/api/tasks?{query}")).1["tasks"].clone();
    let ids = |query: &str| -> Vec<i64> {
        let rows = tasks(query);
        let ids = rows.as_array().unwrap().iter();
        ids.map(|row| row["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids("sort=influence&limit=3"), [2, 1, 3]);
    assert_eq!(ids("sort=helped&limit=2"), [1, 2]);
    assert_eq!(ids("sort=ifd&limit=1"), [1]);
    assert_eq!(ids(r#"filter={"split":"eval"}"#), [5, 6]);
    assert_eq!(ids(r#"limit=4&filter={"split":"train"}"#), [1, 2, 3, 4]);
    assert_eq!(ids(r#"filter={"where":"influence < 0 or ifd < 0.5"}"#), [1, 2]);
    let row = &tasks(r#"filter={"where":"id in (1, 5)"}"#);
    assert_eq!(
        [&row[0]["influence"], &row[0]["ifd"], &row[0]["is_held_out"]],
        [&json!(0.25), &json!(0.25), &json!(false)]
    );
    assert_eq!(row[1]["is_held_out"], true);
    // What is wrong with a condition is said of its field.
    let (status, wrong) = page.get(r#"/api/count?filter={"where":"influenc < 0"}"#);
    assert_eq!((status, &wrong["field"]), (400, &json!("where")));
    let said = wrong["error"].as_str().unwrap();
    assert!(
        said.starts_with("character 1: there is no column `influenc`\nhint: one of id,"),
        "{said}"
    );
    let change = json!({ "filter": { "where": "influence < 0" }, "review": "rejected", "count": 1 });
    assert_eq!(page.post("/api/bulk", &change).0, 200);
    assert_eq!(dir.sql("select id from task where review = 'rejected'"), [["2"]]);
}

#[test]
fn invalid_requests_are_refused() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &[]);
    for (path, status) in [
        ("/api/tasks/99999", 404),
        ("/api/tasks/x", 400),
        ("/api/tasks?filter=x", 400),
        (r#"/api/tasks?filter={"review":"x"}"#, 400),
        (r#"/api/tasks?filter={"nonsense":1}"#, 400),
        ("/api/tasks?nonsense=1", 400),
        ("/etc/passwd", 404),
        ("/export/..%2f..%2fd.db", 404),
        ("/export/0", 404),
        ("/d.db", 404),
    ] {
        assert_eq!(page.get(path).0, status, "{path}");
    }
    for (path, body, status) in [
        (
            "/api/tasks/1/review",
            json!({ "review": "pending", "version": 0 }),
            400,
        ),
        ("/api/tasks/1/review", json!({ "review": "rejected" }), 422),
        (
            "/api/tasks/1/review",
            json!({ "review": "rejected", "version": 0, "x": 1 }),
            422,
        ),
        (
            "/api/tasks/1/edit",
            json!({ "version": 0, "instruction": " \n" }),
            400,
        ),
        (
            "/api/tasks/1/edit",
            json!({ "version": 0, "instances": [{ "ordinal": 9, "input": "x" }] }),
            404,
        ),
        (
            "/api/bulk",
            json!({ "filter": {}, "review": "rejected", "count": 1 }),
            409,
        ),
        (
            "/api/bulk",
            json!({ "filter": { "x": 1 }, "review": "rejected", "count": 1 }),
            422,
        ),
        ("/api/undo", json!({ "group": 77 }), 404),
        ("/api/undo", json!({}), 409),
        ("/api/export", json!({ "format": "../../x", "filter": {} }), 400),
        (
            "/api/export",
            json!({ "format": "alpaca", "filter": {}, "out": "/tmp/x" }),
            422,
        ),
    ] {
        assert_eq!(page.post(path, &body).0, status, "{path} {body}");
    }
    assert_eq!(number(&dir, "select count(*) from revision"), 0);
}

#[test]
fn a_bulk_action_is_one_action() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    let accepted = || number(&dir, "select count(*) from task where review = 'accepted'");
    let before = accepted();
    let filter = json!({ "origin": "seed", "review": "accepted", "text": "mail" });
    let (_, counted) = page.get(&format!("/api/count?filter={filter}"));
    let count = counted["count"].as_i64().unwrap();
    assert!(count > 3, "{counted}");
    let bulk = |count: i64| {
        page.post(
            "/api/bulk",
            &json!({ "filter": filter, "review": "rejected", "count": count, "note": "no mail" }),
        )
    };
    // The user saw another number: nothing happens.
    let (status, answer) = bulk(count - 1);
    assert_eq!((status, &answer["count"]), (409, &json!(count)));
    assert_eq!(accepted(), before);
    let (status, answer) = bulk(count);
    assert_eq!((status, &answer["change"]["tasks"]), (200, &json!(count)));
    assert_eq!(accepted(), before - count);
    page.post("/api/undo", &json!({ "group": answer["change"]["group"] }));
    assert_eq!(accepted(), before);
}

#[test]
fn exports_are_downloads() {
    let dir = filled();
    let page = Page::start(&dir, &["--token", "open sesame"]);
    let order = |order: Value| {
        let request = page.client.post(format!("{}/api/export", page.url)).json(&order);
        page.send(request.header("authorization", "Bearer open sesame"))
    };
    let fetch = |url: &str| {
        block_on(async {
            let response = page
                .client
                .get(format!("{}{url}", page.url))
                .send()
                .await
                .unwrap();
            (
                response.status(),
                response.headers().clone(),
                response.bytes().await.unwrap(),
            )
        })
    };
    for format in [
        "alpaca",
        "dolly",
        "chat",
        "completion",
        "self-instruct",
        "parquet",
    ] {
        let (status, answer) = order(json!({ "format": format, "filter": { "review": "accepted" } }));
        assert_eq!(status, 200);
        let url = answer["url"].as_str().unwrap();
        let (_, headers, file) = fetch(url);
        let name = headers["content-disposition"].to_str().unwrap();
        assert!(name.starts_with("attachment; filename=\""), "{name}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let ours = [
            "export", "--db", "d.db", "--format", format, "--review", "accepted", "--out", "ours",
        ];
        ewe(&dir, &ours).success();
        assert_eq!(file, std::fs::read(dir.path("ours")).unwrap(), "{format}");
        // A link works once.
        assert_eq!(fetch(url).0, 404);
    }
    // Without the token there is no link.
    assert_eq!(
        page.post("/api/export", &json!({ "format": "alpaca", "filter": {} }))
            .0,
        401
    );
}

#[test]
fn the_data_requires_the_token() {
    let dir = Dir::with_dataset();
    for (rest, what) in [
        (&["--bind", "0.0.0.0:0"][..], "there is no token\nhint: "),
        (
            &["--bind", "0.0.0.0:0", "--token", "short"],
            "short enough to guess",
        ),
        (
            &["--bind", "203.0.113.1:1", "--token", "long enough"],
            "cannot listen on `203.0.113.1:1`",
        ),
    ] {
        let out = ewe(&dir, &[&["curate", "--db", "d.db"], rest].concat()).failure(1);
        assert!(out.stderr().contains(what), "{}", out.stderr());
    }
    let page = Page::start(&dir, &["--token", "open sesame"]);
    let tasks = || page.client.get(format!("{}/api/tasks", page.url));
    assert_eq!(page.send(tasks()).0, 401);
    assert_eq!(
        page.send(tasks().header("authorization", "Bearer open sesamf")).0,
        401
    );
    assert_eq!(
        page.send(tasks().header("authorization", "Bearer open sesame")).0,
        200
    );
    assert_eq!(page.post("/api/undo", &json!({})).0, 401);
    assert_eq!(block_on(page.client.get(&page.url).send()).unwrap().status(), 200);
}
