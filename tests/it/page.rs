//! The page of `ewe curate`, as a browser and as a stranger would talk to it.

use std::{
    io::{BufRead, BufReader},
    process::Child,
};

use serde_json::{Value, json};

use crate::{
    shell::Dir,
    support::{block_on, ewe, filled, number, spawn},
};

/// A running page.
struct Page {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Page {
    fn start(dir: &Dir, rest: &[&str]) -> Page {
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

    fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.url)))
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
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

    /// Ends it as Ctrl-C does.
    fn stop(mut self) -> i32 {
        std::process::Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
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
fn queue_review_edit_undo() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    let id = number(&dir, "select max(id) from task") - 1;
    let (_, queue) = page.get("/api/tasks?review=pending&origin=machine&text=anim*&sort=newest");
    assert_eq!(
        (&queue["count"], &queue["tasks"][0]["id"]),
        (&json!(1), &json!(id))
    );
    let (_, task) = page.get(&format!("/api/tasks/{id}"));
    assert_eq!(
        (&task["version"], &task["neighbors"][0]["id"]),
        (&json!(0), &json!(1))
    );

    let (status, _) = page.post(
        "/api/review",
        &json!({ "ids": [id], "review": "rejected", "note": "silly" }),
    );
    assert_eq!(status, 200);
    assert_eq!(
        dir.sql("select action, who, note from revision order by id desc limit 1"),
        [["reject", "ann", "silly"]]
    );
    // Somebody who still sees the old version may not overwrite it, and gets to see the new one.
    let edit =
        json!({ "version": 0, "instruction": "Mine.", "instances": [{ "ordinal": 0, "output": "a ram" }] });
    let (status, answer) = page.post(&format!("/api/tasks/{id}/edit"), &edit);
    assert_eq!((status, &answer["current"]["review"]), (409, &json!("rejected")));
    let mut edit = edit;
    edit["version"] = answer["current"]["version"].clone();
    assert_eq!(page.post(&format!("/api/tasks/{id}/edit"), &edit).0, 200);
    let texts = || {
        dir.sql(&format!("select instruction, output, review from task join instance on task_id = task.id where task.id = {id}"))
    };
    assert_eq!(texts(), [["Mine.", "a ram", "rejected"]]);
    page.post("/api/undo", &json!({}));
    page.post("/api/undo", &json!({}));
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
    for (path, status) in [
        ("/api/tasks/99999", 404),
        ("/api/tasks/x", 400),
        ("/api/tasks?review=x", 400),
        ("/etc/passwd", 404),
    ] {
        assert_eq!(page.get(path).0, status, "{path}");
    }
    assert_eq!(
        page.post("/api/review", &json!({ "ids": [1], "review": "pending" }))
            .0,
        400
    );
    assert_eq!(
        page.post(
            "/api/review",
            &json!({ "ids": [1], "review": "rejected", "x": 1 })
        )
        .0,
        422
    );
    // Refused by its length, unread; whether the client hears the answer before the door shuts is chance.
    let large = json!({ "version": 0, "instruction": "x".repeat(5 << 20) });
    let request = page
        .client
        .post(format!("{}/api/tasks/1/edit", page.url))
        .json(&large);
    let answer = block_on(request.send());
    assert!(answer.map_or(true, |answer| answer.status() == 413));
    assert_eq!(
        number(&dir, "select max(length(instruction)) < 1000 from task"),
        1
    );
    assert_eq!(page.stop(), 130);
}

#[test]
fn strangers_are_turned_away() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &[]);
    let tasks = || page.client.get(format!("{}/api/tasks", page.url));
    let undo = || page.client.post(format!("{}/api/undo", page.url));
    let json_body =
        |request: reqwest::RequestBuilder| request.header("content-type", "application/json").body("{}");
    assert_eq!(page.send(tasks()).0, 200);
    // DNS rebinding: another name that means this machine.
    assert_eq!(page.send(tasks().header("host", "evil.example:80")).0, 403);
    assert_eq!(page.send(tasks().header("origin", "http://evil.example")).0, 403);
    assert_eq!(page.send(tasks().header("origin", "null")).0, 403);
    assert_eq!(page.send(tasks().header("sec-fetch-site", "cross-site")).0, 403);
    assert_eq!(
        page.send(json_body(undo()).header("origin", "http://evil.example"))
            .0,
        403
    );
    // What a form of another site could send without asking.
    assert_eq!(
        page.send(undo().header("content-type", "text/plain").body("{}"))
            .0,
        415
    );
    // Our own page.
    assert_eq!(
        page.send(
            json_body(undo())
                .header("origin", page.url.as_str())
                .header("sec-fetch-site", "same-origin")
        )
        .0,
        409
    );
    let headers = block_on(page.client.get(&page.url).send())
        .unwrap()
        .headers()
        .clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

#[test]
fn a_token_keeps_the_dataset_closed() {
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
