//! `ewe generate` against endpoints that misbehave on a schedule, down to the socket.

use crate::faulty_endpoint::{Asked, Reply, Server, nonsense, refusal};
use crate::mock::Mock;
use crate::shell::{self, Dir, Ran, ewe};
use crate::support::{export, undisturbed};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// Arguments that generate `target` tasks from these endpoints.
fn arguments<'a>(target: &'a str, urls: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "generate",
        "--db",
        "d.db",
        "--target",
        target,
        "--endpoint-model",
        "mock",
    ];
    for url in urls {
        arguments.extend(["--endpoint", url]);
    }
    arguments
}

/// Runs the command with more arguments and short back-off.
fn generate(dir: &Dir, target: &str, urls: &[&str], more: &[&str]) -> Ran {
    let waits = vec!["--backoff", "0.01"];
    ewe(dir, &[arguments(target, urls), waits, more.to_vec()].concat())
}

fn number(dir: &Dir, query: &str) -> usize {
    dir.sql(query)[0][0].parse().unwrap()
}

/// Asserts that every answer is stored and that no request was answered twice by all servers
/// together.
fn assert_nothing_twice(dir: &Dir, servers: &[&Server]) {
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    for (question, times) in servers.iter().flat_map(|server| server.answered()) {
        *answered.entry(question).or_default() += times;
    }
    let twice: Vec<_> = answered.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(number(dir, "select count(*) from request"), answered.len());
}

#[test]
fn transient_faults_do_not_change_the_export() {
    let truncated_utf8 = |asked: &Asked| {
        let mut body = asked.answer().to_string().into_bytes();
        let quote = body.windows(7).position(|text| text == b"\"text\":").unwrap() + 8;
        // The first byte of an é, without the second.
        body.insert(quote, 0xc3);
        nonsense(body)
    };
    let server = Server::start(move |asked| match asked.number {
        1 => refusal(429, "slow down"),
        2 => refusal(500, "oops"),
        4 => Reply::Reset(0),
        5 => Reply::Reset(40),
        7 => nonsense("{\"choices\": [{\"te"),
        8 => nonsense("<html>\u{1b}[2J</html>"),
        10 => truncated_utf8(asked),
        11 => Reply::Silence,
        13 => Reply::Says(json!({"choices": [
            {"index": 1, "text": " Another text\n10. And one\n", "finish_reason": "stop"},
            asked.answer()["choices"][0],
            {"index": 0, "text": " A third", "finish_reason": "stop"}]})),
        14 => nonsense(" ".repeat(17 << 20)),
        16 => refusal(503, "warming up"),
        17 => nonsense(json!({"error": {"message": "upstream is gone"}}).to_string()),
        19 => nonsense(json!({"choices": [{"text": "half", "finish_reason": "abort"}]}).to_string()),
        20 => Reply::Status(502, String::new(), vec![0xff, 0xfe]),
        22 => refusal(408, "too slow"),
        23 => nonsense(""),
        _ => Reply::Answer,
    });
    let dir = Dir::with_dataset();
    generate(&dir, "20", &[&server.url], &[]).success();
    assert!(server.asked().len() > 24, "{}", server.asked().len());
    assert_nothing_twice(&dir, &[&server]);
    assert_eq!(export(&dir), undisturbed("20"));
}

#[test]
fn a_response_that_drips_times_out() {
    // A byte each fifth of the time-out, so that a time-out between bytes would never end it. All
    // bytes would take minutes.
    let server = Server::start(|asked| match asked.number {
        0 => Reply::Drip(Duration::from_millis(1000)),
        _ => Reply::Answer,
    });
    let (dir, start) = (Dir::with_dataset(), Instant::now());
    generate(&dir, "5", &[&server.url], &["--timeout", "5"]).success();
    let time = start.elapsed();
    assert!(
        time >= Duration::from_secs(5) && time < Duration::from_secs(90),
        "{time:?}"
    );
    assert_nothing_twice(&dir, &[&server]);
    assert_eq!(export(&dir), undisturbed("5"));
}

#[test]
fn permanent_errors_end_the_run_with_the_server_s_message() {
    for (status, hint) in [
        (401, "--api-key-env"),
        (403, "--api-key-env"),
        (404, "'mock'"),
        (405, "'mock'"),
    ] {
        // The first requests hang: requests in flight must not keep the run from ending.
        let server = Server::start(move |asked| match asked.number {
            0..4 => Reply::After(Duration::from_secs(60)),
            _ => refusal(status, "not for \u{1b}[31myou"),
        });
        let (dir, start) = (Dir::with_dataset(), Instant::now());
        let out = generate(&dir, "5", &[&server.url], &[]).failure(1);
        assert!(start.elapsed() < Duration::from_secs(45), "{status}");
        let said = out.stderr();
        for words in [
            &status.to_string(),
            "not for  [31myou",
            "hint:",
            hint,
            &server.url,
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(
            dir.sql("select status from run order by id desc limit 1"),
            [["failed"]]
        );
        assert!(server.asked().len() < 40, "{}", server.asked().len());
    }
}

#[test]
fn an_exhausted_account_ends_the_run() {
    let body = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    let server = Server::start(move |_| {
        Reply::Status(429, "retry-after: 60\r\n".into(), body.to_string().into_bytes())
    });
    let (dir, start) = (Dir::with_dataset(), Instant::now());
    let out = generate(&dir, "5", &[&server.url], &[]).failure(1);
    assert!(start.elapsed() < Duration::from_secs(45), "it waits a minute");
    assert!(
        out.stderr().contains("exceeded your current quota"),
        "{}",
        out.stderr()
    );
}

/// All output of a run with this key and `-vv`, and the bytes of all its files.
fn traces(dir: &Dir, url: &str, key: &str) -> (String, Vec<u8>) {
    let mut command = shell::command(
        dir,
        &[
            arguments("3", &[url]),
            vec!["-vv", "--retries", "1", "--backoff", "0.01"],
        ]
        .concat(),
    );
    command.env("OPENAI_API_KEY", key);
    let out = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir.path("")).unwrap() {
        files.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    (said, files)
}

#[test]
fn a_key_that_the_server_echoes_is_neither_printed_nor_stored() {
    const KEY: &str = "sk-very-secret/0123456789";
    let quote = |status| move |asked: &Asked| refusal(status, &format!("{}, is that a key?", asked.headers));
    let good = Server::start(|_| Reply::Answer);
    let sent = |server: &Server| server.asked()[0].headers.contains(&format!("Bearer {KEY}"));
    let mut servers = vec![good];
    servers.extend([400, 401, 404, 500].map(|status| Server::start(quote(status))));
    let nonsensical = Server::start(|asked| {
        // JSON may escape a slash as `\/`.
        nonsense(format!("{{\"seen\": \"{}\"", asked.headers.replace("\r\n", " ")))
    });
    servers.push(nonsensical);
    for server in &servers {
        let dir = Dir::with_dataset();
        let (said, files) = traces(&dir, &server.url, KEY);
        assert!(sent(server));
        for secret in ["very-secret", "0123456789"] {
            assert!(!said.contains(secret), "{said}");
            let found = files
                .windows(secret.len())
                .any(|bytes| bytes == secret.as_bytes());
            assert!(!found, "stored");
        }
    }
    let dir = Dir::with_dataset();
    let said = traces(&dir, &servers[2].url, KEY).0;
    assert!(
        said.contains("is that a key?") && said.contains("***"),
        "the words without the key: {said}"
    );
}

#[test]
fn a_redirect_to_another_server_is_not_followed() {
    let other = Server::start(|_| Reply::Answer);
    for status in [301, 302, 307, 308] {
        let place = format!("location: {}/completions\r\n", other.url);
        let server = Server::start(move |_| Reply::Status(status, place.clone(), Vec::new()));
        let dir = Dir::with_dataset();
        let mut command = shell::command(&dir, &arguments("3", &[&server.url]));
        command.env("OPENAI_API_KEY", "sk-secret");
        let out = shell::ran(command).failure(1);
        assert!(
            out.stderr().contains(&other.url) && out.stderr().contains("hint:"),
            "{}",
            out.stderr()
        );
    }
    assert_eq!(other.asked().len(), 0);
    // A redirect within one server is followed, with the key.
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/completions" => Reply::Status(308, "location: /v2/completions\r\n".into(), Vec::new()),
        _ => Reply::Answer,
    });
    let dir = Dir::with_dataset();
    let mut command = shell::command(&dir, &arguments("3", &[&server.url]));
    command.env("OPENAI_API_KEY", "sk-secret");
    shell::ran(command).success();
    let followed = server
        .asked()
        .into_iter()
        .find(|asked| asked.path != "/v1/completions");
    assert!(followed.unwrap().headers.contains("Bearer sk-secret"));
}

#[test]
fn secrets_in_an_address_are_refused_and_not_printed() {
    let dir = Dir::with_dataset();
    for url in [
        "http://ann:pass-word@127.0.0.1:9/v1",
        "http://127.0.0.1:9/v1?key=pass-word",
    ] {
        let said = generate(&dir, "3", &[url], &[]).failure(1).stderr();
        assert!(!said.contains("pass-word") && said.contains("hint:"), "{said}");
    }
}

#[test]
fn retry_after_is_honored() {
    let in_seconds = || "retry-after: 1\r\n".to_string();
    let as_date = || {
        // The server's clock is a day slow.
        let now = SystemTime::now() - Duration::from_secs(86_400);
        let then = now + Duration::from_secs(1);
        format!(
            "date: {}\r\nretry-after: {}\r\n",
            httpdate::fmt_http_date(now),
            httpdate::fmt_http_date(then)
        )
    };
    for headers in [in_seconds as fn() -> String, as_date] {
        let server = Server::start(move |asked| match asked.number {
            20 => Reply::Status(429, headers(), b"later".to_vec()),
            _ => Reply::Answer,
        });
        let dir = Dir::with_dataset();
        generate(&dir, "10", &[&server.url], &["--concurrency", "1"]).success();
        let asked = server.asked();
        let pause = asked[21].time - asked[20].time;
        assert!(
            pause >= Duration::from_millis(990) && pause < Duration::from_secs(60),
            "{pause:?}"
        );
        assert_nothing_twice(&dir, &[&server]);
    }
}

#[test]
fn the_concurrency_limit_grows_falls_on_429_and_recovers() {
    // From the 150th request to the 400th, the server accepts at most four at once.
    let server = Server::start(|asked| match asked.number {
        150..400 if asked.in_flight > 4 => refusal(429, "slow down"),
        // As many are in flight as the client allows itself, even if the machine is busy.
        ..150 => Reply::Settled(Duration::from_millis(120)),
        _ => Reply::Settled(Duration::from_millis(40)),
    });
    let dir = Dir::with_dataset();
    let wide = ["--concurrency", "64", "--window", "64", "--threshold", "0.95"];
    generate(&dir, "250", &[&server.url], &wide).success();
    let asked = server.asked();
    let peak = |from: usize, to: usize| asked[from..to].iter().map(|a| a.in_flight).max().unwrap();
    assert!(asked.len() > 700, "{}", asked.len());
    // At half of what is allowed, and one more for each answer: of 60 requests, 14 were answered.
    assert!(peak(0, 60) <= 60 - 14 + 1, "it starts low: {}", peak(0, 60));
    let before = peak(100, 150);
    assert!(before > 30, "it grows quickly: {before}");
    let within = peak(250, 400);
    assert!(within <= 9, "it falls: {within}");
    // By one in eight answers at most.
    let soon = peak(400, 450);
    assert!(soon < 30, "it recovers step by step: {soon}");
    let after = peak(600, asked.len().min(900));
    assert!(after > within + 2, "it recovers: {after}");
    // After the limit fell, few requests were refused.
    let refused = asked[250..400].iter().filter(|a| a.in_flight > 4).count();
    assert!(refused < 40, "{refused}");
    assert_nothing_twice(&dir, &[&server]);
    assert_eq!(export(&dir), {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        generate(&dir, "250", &[&mock.url], &wide).success();
        export(&dir)
    });
}

/// The content keys of all requests.
fn keys(dir: &Dir) -> BTreeSet<Vec<String>> {
    dir.sql("select content_key, round, stage, ordinal from request")
        .into_iter()
        .collect()
}

#[test]
fn two_endpoints_share_the_work_in_either_order() {
    let slow = |_: &Asked| Reply::After(Duration::from_millis(5));
    let (a, b) = (Server::start(slow), Server::start(slow));
    let dir = Dir::with_dataset();
    generate(&dir, "40", &[&a.url, &b.url], &[]).success();
    assert_nothing_twice(&dir, &[&a, &b]);
    let (of_a, of_b) = (a.asked().len(), b.asked().len());
    assert!(of_a.min(of_b) * 3 > of_a.max(of_b), "{of_a} and {of_b}");
    assert_eq!(export(&dir), undisturbed("40"));

    // Interrupted and continued with the endpoints in the other order, no request is repeated.
    let (a, b) = (Server::start(slow), Server::start(slow));
    let other = Dir::with_dataset();
    generate(&other, "40", &[&a.url, &b.url], &["--max-requests", "40"]).success();
    generate(&other, "40", &[&b.url, &a.url], &[]).success();
    assert_nothing_twice(&other, &[&a, &b]);
    assert_eq!(export(&other), export(&dir));
    let model = other.sql("select distinct model from run where command = 'generate'");
    assert_eq!(model.len(), 1, "{model:?}");
    // At other endpoints, the same model name may mean other weights.
    assert!(keys(&dir).is_disjoint(&keys(&other)));
}

#[test]
fn a_dead_endpoint_is_set_aside_and_the_other_takes_over() {
    let good = Server::start(|_| Reply::After(Duration::from_millis(5)));
    let nobody = "http://127.0.0.1:9/v1";
    let dir = Dir::with_dataset();
    let out = generate(&dir, "40", &[nobody, &good.url], &["--retries", "2"]).success();
    assert!(
        out.stderr().contains(nobody) && out.stderr().contains("set aside"),
        "{}",
        out.stderr()
    );
    assert_nothing_twice(&dir, &[&good]);
    assert_eq!(export(&dir), undisturbed("40"));

    // With no endpoint left, the run ends and says so.
    let out = generate(
        &dir,
        "80",
        &[nobody, "http://127.0.0.1:10/v1"],
        &["--retries", "2"],
    )
    .failure(1);
    assert!(
        out.stderr().contains("after 3 tries") && out.stderr().contains("hint:"),
        "{}",
        out.stderr()
    );
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let good = Server::start(|_| Reply::After(Duration::from_millis(40)));
    // The endpoint fails from its tenth request on, until it was left alone for a while. It is set
    // aside for 600 ms; all other pauses are of 10 ms.
    let state = Mutex::new((Instant::now(), false));
    let ill = Server::start(move |asked| {
        let (last, is_well) = &mut *state.lock().unwrap();
        let alone = asked.time.saturating_duration_since(*last);
        *is_well |= asked.number > 10 && alone > Duration::from_millis(400);
        *last = asked.time;
        match asked.number {
            10.. if !*is_well => refusal(502, "restarting"),
            _ => Reply::After(Duration::from_millis(40)),
        }
    });
    let dir = Dir::with_dataset();
    let more = ["--retries", "1", "--concurrency", "4"];
    let out = generate(&dir, "80", &[&ill.url, &good.url], &more).success();
    for words in ["is set aside", "is back"] {
        assert!(out.stderr().contains(words), "{words}: {}", out.stderr());
    }
    assert!(ill.asked().len() > 40, "{}", ill.asked().len());
    assert_nothing_twice(&dir, &[&ill, &good]);
}

#[test]
fn a_request_that_always_fails_costs_one_candidate() {
    let is_unlucky =
        |asked: &Asked| asked.prompt().starts_with("Can the following") && asked.seed().is_multiple_of(7);
    let filtered = json!({"choices": [{"text": " No", "finish_reason": "content_filter"}]});
    type Fault = Box<dyn Fn() -> Reply + Send + Sync>;
    let faults: [(Fault, &str); 3] = [
        (Box::new(|| refusal(500, "out of luck")), "out of luck"),
        (Box::new(|| refusal(400, "not this one")), "not this one"),
        (Box::new(move || Reply::Says(filtered.clone())), "content filter"),
    ];
    for (fault, words) in faults {
        let server = Server::start(move |asked| match is_unlucky(asked) {
            true => fault(),
            false => Reply::After(Duration::from_millis(2)),
        });
        let dir = Dir::with_dataset();
        generate(&dir, "20", &[&server.url], &["--retries", "2"]).success();
        let failed = dir.sql("select detail from candidate where reason = 'request_failed'");
        assert!(!failed.is_empty(), "{words}");
        assert!(failed.iter().all(|row| row[0].contains(words)), "{failed:?}");
    }
}

#[test]
fn a_chat_only_server_is_asked_to_continue_the_prompt() {
    let chat_only = |asked: &Asked| match asked.path.as_str() {
        "/v1/chat/completions" => Reply::Answer,
        _ => refusal(404, "Not Found"),
    };
    let server = Server::start(chat_only);
    let dir = Dir::with_dataset();
    generate(&dir, "20", &[&server.url], &[]).success();
    assert_eq!(export(&dir), undisturbed("20"));
    let asked = server.asked();
    let vain = asked
        .iter()
        .filter(|asked| asked.path == "/v1/completions")
        .count();
    assert!((1..=8).contains(&vain), "it is remembered: {vain}");
    let message = &asked.last().unwrap().body["messages"][0];
    assert_eq!(message["role"], "system");

    // With `--api chat`, completions are never tried; with `--api completions`, chat is not.
    let server = Server::start(chat_only);
    let dir = Dir::with_dataset();
    generate(&dir, "5", &[&server.url], &["--api", "chat"]).success();
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.path == "/v1/chat/completions")
    );
    let out = generate(&dir, "20", &[&server.url], &["--api", "completions"]).failure(1);
    assert!(out.stderr().contains("Not Found"), "{}", out.stderr());
}

#[test]
fn missing_token_counts_are_zero_and_reported_once() {
    let server = Server::start(|asked| {
        let mut body = asked.answer();
        body.as_object_mut().unwrap().remove("usage");
        Reply::Says(body)
    });
    let dir = Dir::with_dataset();
    let out = generate(&dir, "5", &[&server.url], &[]).success();
    assert_eq!(
        out.stderr().matches("does not say how many tokens").count(),
        1,
        "{}",
        out.stderr()
    );
    assert_eq!(
        number(&dir, "select sum(prompt_tokens + completion_tokens) from request"),
        0
    );
}

#[test]
fn endpoint_options_that_do_not_fit_are_refused() {
    let dir = Dir::with_dataset();
    let (a, b) = ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/");
    for (urls, more, words) in [
        (vec![a, b], vec![], "is given twice"),
        (
            vec![a],
            vec!["--endpoint-model", "another"],
            "--endpoint-model is given 2 times",
        ),
        (
            vec![a],
            vec!["--api-key-env", "A", "--api-key-env", "B"],
            "--api-key-env is given 2 times",
        ),
        (vec!["ftp://127.0.0.1/v1"], vec![], "no address of an endpoint"),
        (vec!["127.0.0.1:8000"], vec![], "hint:"),
    ] {
        let said = generate(&dir, "3", &urls, &more).failure(1).stderr();
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn each_endpoint_gets_its_own_key() {
    let slow = |_: &Asked| Reply::After(Duration::from_millis(5));
    let (a, b) = (Server::start(slow), Server::start(slow));
    let dir = Dir::with_dataset();
    let more = ["--api-key-env", "KEY_A", "--api-key-env", "KEY_B"];
    let mut command = shell::command(
        &dir,
        &[arguments("10", &[&a.url, &b.url]), more.to_vec()].concat(),
    );
    command.env("KEY_A", "of-a").env("KEY_B", "of-b");
    shell::ran(command).success();
    for (server, key) in [(a, "Bearer of-a"), (b, "Bearer of-b")] {
        let asked = server.asked();
        assert!(!asked.is_empty() && asked.iter().all(|asked| asked.headers.contains(key)));
    }
}

/// The usual variable names a proxy. The address is one that only the proxy can reach.
#[test]
fn the_proxy_variable_is_honored() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let proxy = mock.url.trim_end_matches("/v1").to_string();
    let mut command = shell::command(&dir, &arguments("3", &["http://model.invalid/v1"]));
    for name in ["http_proxy", "HTTP_PROXY"] {
        command.env(name, &proxy);
    }
    for name in ["no_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    shell::ran(command).success();
    assert!(mock.requests() > 0);
}
