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
use serde_json::{Value, json};

use crate::{
    shell::Dir,
    support::{block_on, ewe, spawn},
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
    client: Client,
    driver: Child,
    session: String,
    http: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn open(url: &str) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; `make test-browser` installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = lines
            .find_map(|line| {
                line.unwrap()
                    .split("on port ")
                    .nth(1)?
                    .trim_end_matches('.')
                    .parse()
                    .ok()
            })
            .expect("chromedriver says its port");
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        let arguments = [
            "--headless".to_string(),
            "--no-sandbox".to_string(),
            "--disable-gpu".to_string(),
            "--disable-quic".to_string(),
            "--disable-dev-shm-usage".to_string(),
            "--no-first-run".to_string(),
            "--disable-background-networking".to_string(),
            "--disable-component-update".to_string(),
            "--disable-sync".to_string(),
            "--window-size=1600,1000".to_string(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let address = format!("http://127.0.0.1:{port}");
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&address)
            .await
            .expect("Chromium starts");
        let session = format!(
            "{address}/session/{}",
            client.session_id().await.unwrap().unwrap()
        );
        let _ = rustls::crypto::ring::default_provider().install_default();
        let browser = Browser {
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
        browser
            .devtools(
                "Page.addScriptToEvaluateOnNewDocument",
                json!({ "source": watch }),
            )
            .await;
        browser.client.goto(url).await.unwrap();
        browser
            .wait("document.title !== '' && document.getElementById('count').textContent !== ''")
            .await;
        browser
    }

    /// A command of Chromium's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("goog/cdp/execute", body).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let response = self
            .http
            .post(format!("{}/{path}", self.session))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.text().await.unwrap()
        );
        response.json::<Value>().await.unwrap()["value"].take()
    }

    /// Waits until the page has opened this task.
    pub async fn at(&self, id: i64) {
        self.wait(&format!("document.title === 'Task {id} · ewe'")).await;
    }

    pub async fn js(&self, script: &str) -> Value {
        self.client
            .execute(script, Vec::new())
            .await
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait<'a>(&'a self, condition: &'a str) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            while self.js(&format!("return Boolean({condition})")).await != Value::Bool(true) {
                if start.elapsed() > PATIENCE {
                    let seen = self.js("return document.body.innerText.slice(0, 3000)").await;
                    let status = self
                        .js("return document.getElementById('status').textContent")
                        .await;
                    panic!(
                        "{place}: in vain for {condition}\nstatus: {status}\nseen: {}",
                        seen.as_str().unwrap_or_default()
                    );
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    }

    /// Waits until the line at the bottom says this.
    #[track_caller]
    pub fn says(&self, what: &str) -> impl Future<Output = ()> + '_ {
        let condition = format!(
            "document.getElementById('status').textContent.includes({})",
            json!(what)
        );
        let place = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            while self.js(&format!("return {condition}")).await != Value::Bool(true) {
                if start.elapsed() > PATIENCE {
                    panic!(
                        "{place}: in vain for {condition}: {}",
                        self.js("return document.getElementById('status').textContent")
                            .await
                    );
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    }

    /// What an element shows.
    pub async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({}).innerText", json!(selector));
        self.js(&script).await.as_str().unwrap().to_string()
    }

    /// Presses keys, one after the other.
    pub async fn press(&self, keys: &str) {
        let mut actions = KeyActions::new("keyboard".into());
        for key in keys.chars() {
            actions = actions
                .then(KeyAction::Down { value: key })
                .then(KeyAction::Up { value: key });
        }
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Presses a key while another one is held.
    pub async fn press_with(&self, held: char, key: char) {
        let actions = KeyActions::new("keyboard".into())
            .then(KeyAction::Down { value: held })
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key })
            .then(KeyAction::Up { value: held });
        self.client.perform_actions(actions).await.unwrap();
    }

    /// A picture of the window, in `target/screenshots`.
    pub async fn picture(&self, name: &str) {
        let picture = self.client.screenshot().await.unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// So many pixels wide and high, whatever the window's own limits.
    pub async fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// `light` or `dark`.
    pub async fn theme(&self, theme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
        self.wait("document.getElementById('count').textContent !== ''")
            .await;
    }

    /// Ends it. Nothing may have gone wrong in the page, and its policy not have had to stop anything.
    pub async fn close(self) {
        assert_eq!(self.js("return window.wrong").await, json!([]));
        let log = self.post("se/log", json!({ "type": "browser" })).await;
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
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Runs a test that looks at a page with one browser.
pub fn looking<F: Future<Output = ()>>(page: &Page, test: impl FnOnce(Browser) -> F) {
    block_on(async { test(Browser::open(&page.url).await).await });
}
