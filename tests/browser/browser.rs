//! A page, a browser that looks at it, and hands on the keyboard.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{
    Client, ClientBuilder,
    actions::{InputSource, KeyAction, KeyActions},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    shell::Dir,
    support::{ewe, spawn},
};

pub const ESCAPE: char = '\u{e00c}';
pub const ENTER: char = '\u{e007}';
pub const TAB: char = '\u{e004}';
pub const CONTROL: char = '\u{e009}';
pub const DOWN: char = '\u{e015}';
pub const UP: char = '\u{e013}';

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// `ewe curate` on a dataset.
pub struct Page {
    child: Child,
    pub url: String,
}

impl Page {
    pub fn start(dir: &Dir, rest: &[&str]) -> Page {
        let bind = ["curate", "--db", "d.db", "--bind", "127.0.0.1:0"];
        let mut child = spawn(dir, &[&bind, rest].concat());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Page {
            child,
            url: line.trim().to_string(),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A dataset with these tasks, pending, as somebody would import them: instruction, input, output. Seeds are 1 to 215.
pub fn imported(rows: &[[&str; 3]]) -> Dir {
    let dir = Dir::with_dataset();
    import(&dir, rows);
    dir
}

pub fn import(dir: &Dir, rows: &[[&str; 3]]) {
    let line = |[instruction, input, output]: &[&str; 3]| {
        json!({ "instruction": instruction, "context": input, "response": output, "category": "open_qa" })
            .to_string()
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    dir.write("rows.jsonl", lines.join("\n"));
    ewe(dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]).success();
}

/// So many tasks that are told apart by their number.
pub fn numbered(count: usize) -> Dir {
    let dir = Dir::with_dataset();
    import_numbered(&dir, 1, count);
    dir
}

pub fn import_numbered(dir: &Dir, from: usize, count: usize) {
    let texts: Vec<[String; 3]> = (from..from + count)
        .map(|n| {
            [
                format!("Explain thing number {n}."),
                String::new(),
                format!("Answer {n}."),
            ]
        })
        .collect();
    let rows: Vec<[&str; 3]> = texts
        .iter()
        .map(|row| row.each_ref().map(String::as_str))
        .collect();
    import(dir, &rows);
}

/// A Chromium of its own, with a profile of its own.
pub struct Browser {
    /// Tests wait for each step; only here is anything asynchronous.
    runtime: Runtime,
    client: Client,
    driver: Child,
    session: String,
    http: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn open(url: &str) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; `make test-browser` installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        // First it says the one that it was told, 0.
        let port: u16 = lines
            .find_map(|line| {
                let line = line.unwrap();
                let port = line.split("on port ").nth(1)?.trim_end_matches('.').parse().ok();
                port.filter(|&port| port != 0)
            })
            .expect("chromedriver says its port");
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1600,1000",
        ]
        .map(str::to_string)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let address = format!("http://127.0.0.1:{port}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (client, session) = runtime.block_on(async {
            let client = ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities.as_object().unwrap().clone())
                .connect(&address)
                .await
                .expect("Chromium starts");
            let session = client.session_id().await.unwrap().unwrap();
            (client, format!("{address}/session/{session}"))
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let browser = Browser {
            runtime,
            client,
            driver,
            session,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _profile: profile,
        };
        // Before anything of the page runs: what goes wrong in it is noted.
        let watch = "window.wrong = []; \
            addEventListener('securitypolicyviolation', (e) => wrong.push(`policy: ${e.violatedDirective} ${e.blockedURI}`)); \
            addEventListener('error', (e) => wrong.push(`error: ${e.message}`)); \
            addEventListener('unhandledrejection', (e) => wrong.push(`rejection: ${e.reason}`));";
        browser.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": watch }),
        );
        browser.runtime.block_on(browser.client.goto(url)).unwrap();
        browser.wait("document.getElementById('count').textContent !== ''");
        browser
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post(
            "goog/cdp/execute",
            json!({ "cmd": command, "params": parameters }),
        )
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.runtime.block_on(async {
            let request = self.http.post(format!("{}/{path}", self.session)).json(&body);
            let response = request.send().await.unwrap();
            let status = response.status();
            let mut answer: Value = response.json().await.unwrap();
            assert!(status.is_success(), "{path}: {answer}");
            answer["value"].take()
        })
    }

    /// The value that a script returns.
    #[track_caller]
    pub fn js(&self, script: &str) -> Value {
        self.runtime
            .block_on(self.client.execute(script, Vec::new()))
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&self, condition: &str) {
        let start = Instant::now();
        while self.js(&format!("return Boolean({condition})")) != true {
            if start.elapsed() > PATIENCE {
                let status = self.js("return document.getElementById('status').textContent");
                let seen = self.js("return document.body.innerText.slice(0, 3000)");
                let seen = seen.as_str().unwrap_or_default();
                panic!("in vain for {condition}\nstatus: {status}\nseen: {seen}");
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until the page has opened this task.
    #[track_caller]
    pub fn at(&self, id: i64) {
        self.wait(&format!("document.title === 'Task {id} · ewe'"));
    }

    /// Waits until the line at the bottom says this.
    #[track_caller]
    pub fn says(&self, what: &str) {
        self.wait(&format!(
            "document.getElementById('status').textContent.includes({})",
            json!(what)
        ));
    }

    /// What an element shows.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.js(&format!(
            "return document.querySelector({}).innerText",
            json!(selector)
        ));
        text.as_str().unwrap().to_string()
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: &str) {
        let actions = keys
            .chars()
            .fold(KeyActions::new("keyboard".into()), |actions, value| {
                actions
                    .then(KeyAction::Down { value })
                    .then(KeyAction::Up { value })
            });
        self.runtime
            .block_on(self.client.perform_actions(actions))
            .unwrap();
    }

    /// Presses a key while another one is held.
    pub fn press_with(&self, held: char, key: char) {
        let actions = KeyActions::new("keyboard".into())
            .then(KeyAction::Down { value: held })
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key })
            .then(KeyAction::Up { value: held });
        self.runtime
            .block_on(self.client.perform_actions(actions))
            .unwrap();
    }

    /// A picture of the window, in `target/screenshots`.
    pub fn picture(&self, name: &str) {
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// So many pixels wide and high, whatever the window's own limits.
    pub fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// `light` or `dark`.
    pub fn theme(&self, theme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", media);
    }

    /// Loads the page anew.
    pub fn reload(&self) {
        self.runtime.block_on(self.client.refresh()).unwrap();
        self.wait("document.getElementById('count').textContent !== ''");
    }

    /// Ends it. Nothing may have gone wrong in the page, and its policy not have had to stop anything.
    #[track_caller]
    pub fn close(self) {
        assert_eq!(self.js("return window.wrong"), json!([]));
        let log = self.post("se/log", json!({ "type": "browser" }));
        let severe: Vec<&Value> = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            // What the server refuses on purpose is noted by the network.
            .filter(|entry| entry["source"] != "network")
            .collect();
        assert!(severe.is_empty(), "{severe:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium goes when its session is deleted; after a failed test, that is here.
        if let Some((address, path)) = self.session.trim_start_matches("http://").split_once('/')
            && let Ok(mut stream) = TcpStream::connect(address)
        {
            let request = format!("DELETE /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(request.as_bytes());
            // It answers once Chromium is gone, and keeps the connection.
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.read(&mut [0; 512]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Runs a test that looks at a page with one browser.
pub fn looking(page: &Page, test: impl FnOnce(Browser)) {
    test(Browser::open(&page.url));
}
