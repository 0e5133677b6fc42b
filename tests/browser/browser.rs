//! A running page, and a browser that shows it and takes keys.

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
    waiting::{PATIENCE, pause},
};

pub const BACKSPACE: char = '\u{e003}';
pub const ESCAPE: char = '\u{e00c}';
pub const ENTER: char = '\u{e007}';
pub const TAB: char = '\u{e004}';
pub const CONTROL: char = '\u{e009}';
pub const DOWN: char = '\u{e015}';
pub const UP: char = '\u{e013}';

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

/// A dataset with these tasks imported, pending: instruction, input, output. Seeds are 1 to 215.
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

/// A dataset with `count` tasks, told apart by their number.
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

/// Starts a driver. Returns it with its port; none if it ended without one.
fn start_driver() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts; `make test-browser` installs it");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    // It first prints the port that it was given, 0.
    let port: Option<u16> = lines.find_map(|line| {
        let line = line.unwrap();
        let port = line.split("on port ").nth(1)?.trim_end_matches('.').parse().ok();
        port.filter(|&port| port != 0)
    });
    let Some(port) = port else {
        driver.wait().unwrap();
        return None;
    };
    // The rest of its output must be read.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

/// A Chromium with a profile of its own.
pub struct Browser {
    /// Tests wait for each step; only this struct is asynchronous.
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
        // It asks for a port, and gives up if another process has that of the other address family.
        let (driver, port) = (0..5)
            .find_map(|_| start_driver())
            .expect("chromedriver says its port");
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
        // Runs before any script of the page: records its errors.
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

    /// Runs a command of the Chrome DevTools Protocol.
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
            pause(Duration::from_millis(30));
        }
    }

    /// Waits until the page has opened this task.
    #[track_caller]
    pub fn at(&self, id: i64) {
        self.wait(&format!("document.title.startsWith('Task {id} ·')"));
    }

    /// Waits until the status line shows this.
    #[track_caller]
    pub fn says(&self, what: &str) {
        self.wait(&format!(
            "document.getElementById('status').textContent.includes({})",
            json!(what)
        ));
    }

    /// The visible text of an element.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.js(&format!(
            "return document.querySelector({}).innerText",
            json!(selector)
        ));
        text.as_str().unwrap().to_string()
    }

    /// Waits until the page is at rest or asks something: what was done before is over.
    #[track_caller]
    fn rest(&self) {
        self.wait(
            "!document.querySelector('main[aria-busy=true]') || document.querySelector('dialog[open]')",
        );
    }

    /// Presses keys, one after the other, once what was done before is over. Returns once what they
    /// did is over.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        self.rest();
        self.hurry(keys);
        self.rest();
    }

    /// Presses keys at once.
    pub fn hurry(&self, keys: &str) {
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

    /// Presses a key while another one is held, once what was done before is over.
    #[track_caller]
    pub fn press_with(&self, held: char, key: char) {
        self.rest();
        let actions = KeyActions::new("keyboard".into())
            .then(KeyAction::Down { value: held })
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key })
            .then(KeyAction::Up { value: held });
        self.runtime
            .block_on(self.client.perform_actions(actions))
            .unwrap();
    }

    /// Saves a screenshot to `target/screenshots`.
    pub fn picture(&self, name: &str) {
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Sets the size of the page in pixels, beyond the window's own limits.
    pub fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// Sets the color scheme: `light` or `dark`.
    pub fn theme(&self, theme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", media);
    }

    /// Reloads the page.
    pub fn reload(&self) {
        self.runtime.block_on(self.client.refresh()).unwrap();
        self.wait("document.getElementById('count').textContent !== ''");
    }

    /// Closes the browser. Asserts that the page had no errors and that its policy blocked nothing.
    #[track_caller]
    pub fn close(self) {
        assert_eq!(self.js("return window.wrong"), json!([]));
        let log = self.post("se/log", json!({ "type": "browser" }));
        let severe: Vec<&Value> = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            // Requests that the server refuses on purpose are logged by the network.
            .filter(|entry| entry["source"] != "network")
            .collect();
        assert!(severe.is_empty(), "{severe:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends when its session is deleted; after a failed test, that happens here.
        if let Some((address, path)) = self.session.trim_start_matches("http://").split_once('/')
            && let Ok(mut stream) = TcpStream::connect(address)
        {
            let request = format!("DELETE /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(request.as_bytes());
            // It responds once Chromium has ended, and keeps the connection open.
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.read(&mut [0; 512]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Runs a test with one browser that shows a page.
pub fn looking(page: &Page, test: impl FnOnce(Browser)) {
    test(Browser::open(&page.url));
}
