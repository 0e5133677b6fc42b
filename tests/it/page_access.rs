//! Access to the page, byte by byte: a client library would correct hostile requests.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    page::Page,
    shell::Dir,
    support::{ewe, number},
    waiting::until,
};

/// The address without the scheme.
fn host(page: &Page) -> &str {
    page.url.trim_start_matches("http://")
}

fn connect(page: &Page) -> TcpStream {
    let stream = TcpStream::connect(host(page)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    stream
}

/// Sends a request with `HOST` replaced, and reads until the server closes the connection.
fn say(page: &Page, request: &str) -> String {
    let mut stream = connect(page);
    let _ = stream.write_all(request.replace("HOST", host(page)).as_bytes());
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{request}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .or(answer.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or(0)
}

/// The status of a GET with these header lines.
fn get(page: &Page, path: &str, head: &str) -> u16 {
    status(&say(
        page,
        &format!("GET {path} HTTP/1.1\r\n{head}connection: close\r\n\r\n"),
    ))
}

/// The status of a POST of `{}` with these header lines.
fn post(page: &Page, path: &str, head: &str) -> u16 {
    status(&say(
        page,
        &format!("POST {path} HTTP/1.1\r\n{head}content-length: 2\r\nconnection: close\r\n\r\n{{}}"),
    ))
}

#[test]
fn requests_from_other_sites_are_refused() {
    let dir = Dir::with_dataset();
    ewe(&dir, &["reject", "--db", "d.db", "1"]).success();
    let page = Page::start(&dir, &[]);
    let port = page.url.rsplit(':').next().unwrap();
    assert_eq!(get(&page, "/api/tasks", "host: HOST\r\n"), 200);
    assert_eq!(
        get(&page, "/api/tasks", &format!("host: LocalHost:{port}\r\n")),
        200
    );
    // DNS rebinding: another name that resolves to this machine.
    for head in [
        "",
        "host: evil.example\r\n",
        "host: evil.example:80\r\n",
        &format!("host: evil.example:{port}\r\n"),
        &format!("host: 127.0.0.1.evil.example:{port}\r\n"),
        &format!("host: 127.0.0.1:{port}@evil.example\r\n"),
        "host: 127.0.0.1\r\n",
        "host: \r\n",
        "host: HOST\r\nhost: evil.example\r\n",
        "host: evil.example\r\nhost: HOST\r\n",
        // What a browser sends for a page of another site, a sandbox, a file.
        "host: HOST\r\norigin: http://evil.example\r\n",
        "host: HOST\r\norigin: null\r\n",
        "host: HOST\r\norigin: http://HOST.evil.example\r\n",
        "host: HOST\r\norigin: http://localhost\r\n",
        "host: HOST\r\nsec-fetch-site: cross-site\r\n",
        "host: HOST\r\nsec-fetch-site: same-site\r\n",
    ] {
        for path in ["/api/tasks", "/", "/page.js", "/export/0"] {
            assert!([400, 403].contains(&get(&page, path, head)), "{path} {head:?}");
        }
        assert!(
            [400, 403].contains(&post(
                &page,
                "/api/undo",
                &format!("{head}content-type: application/json\r\n")
            )),
            "{head:?}"
        );
    }
    assert_eq!(get(&page, "http://evil.example/api/tasks", "host: HOST\r\n"), 403);
    assert_eq!(status(&say(&page, "GET /api/tasks HTTP/1.0\r\n\r\n")), 403);
    // What a form of another site could send without a preflight, were it not for `Origin`.
    for kind in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: multipart/form-data\r\n",
    ] {
        assert_eq!(
            post(&page, "/api/undo", &format!("host: HOST\r\n{kind}")),
            415,
            "{kind}"
        );
    }
    // A preflight request is not granted.
    let asks = "OPTIONS /api/undo HTTP/1.1\r\nhost: HOST\r\norigin: http://evil.example\r\naccess-control-request-method: POST\r\nconnection: close\r\n\r\n";
    let answer = say(&page, asks);
    assert_eq!(status(&answer), 403);
    assert!(
        !answer.to_lowercase().contains("access-control-allow"),
        "{answer}"
    );
    assert_eq!(
        number(&dir, "select count(*) from revision where action = 'undo'"),
        0
    );
    // The page itself is admitted.
    let ours = "host: HOST\r\norigin: http://HOST\r\nsec-fetch-site: same-origin\r\ncontent-type: application/json\r\n";
    assert_eq!(post(&page, "/api/undo", ours), 200);
}

#[test]
fn every_response_has_the_security_headers() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &["--token", "open sesame"]);
    for (path, expected) in [
        ("/", 200),
        ("/page.js", 200),
        ("/api/tasks", 401),
        ("/nothing", 404),
        ("/export/1", 404),
    ] {
        let answer = say(
            &page,
            &format!("GET {path} HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n"),
        );
        assert_eq!(status(&answer), expected, "{path}");
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        let policy = head
            .lines()
            .find_map(|line| line.strip_prefix("content-security-policy: "))
            .unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        for line in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.lines().any(|other| other == line), "{path}: {line}\n{head}");
        }
    }
    // Neither the page nor its files have inline scripts or load from elsewhere.
    let html = say(&page, "GET / HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n");
    assert_eq!(html.matches("<script").count(), 1);
    assert!(
        !html.contains(" style=") && !html.contains(" onclick=") && !html.contains("//cdn"),
        "{html}"
    );
}

#[test]
fn only_the_token_grants_access() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &["--token", "open sesame"]);
    let paths = [
        "/api/tasks",
        "/api/tasks/1",
        "/api/tasks/1/trail",
        "/api/count",
        "/api/facets",
        "/api/news",
        "/api/choices",
        "/api/latest",
        "/api/dashboard",
    ];
    for path in paths {
        for (head, expected) in [
            ("", 401),
            ("authorization: Bearer open sesamf\r\n", 401),
            ("authorization: Bearer open sesame \x01\r\n", 400),
            ("authorization: open sesame\r\n", 401),
            ("authorization: Bearer \r\n", 401),
            ("cookie: token=open sesame\r\n", 401),
            ("authorization: Bearer open sesame\r\n", 200),
        ] {
            assert_eq!(
                get(&page, path, &format!("host: HOST\r\n{head}")),
                expected,
                "{path} {head:?}"
            );
        }
        assert_eq!(
            get(&page, &format!("{path}?token=open%20sesame"), "host: HOST\r\n"),
            401
        );
    }
    for path in [
        "/api/tasks/1/edit",
        "/api/tasks/1/review",
        "/api/glance",
        "/api/bulk",
        "/api/undo",
        "/api/redo",
        "/api/export",
    ] {
        assert_eq!(
            post(&page, path, "host: HOST\r\ncontent-type: application/json\r\n"),
            401,
            "{path}"
        );
    }
}

#[test]
fn no_path_reaches_the_file_system() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &[]);
    for path in [
        "/../d.db",
        "/../../../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/./d.db",
        "/export/../d.db",
        "/export/..%2fd.db",
        "/export/%2fetc%2fpasswd",
        "/api/tasks/../../d.db",
        "/assets/page.js",
        "/page.js/..",
        "/page.js%00",
        "/d.db%00.js",
        "/file:///etc/passwd",
    ] {
        let answer = say(
            &page,
            &format!("GET {path} HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n"),
        );
        assert!([400, 404].contains(&status(&answer)), "{path}: {answer}");
        assert!(
            !answer.contains("root:") && !answer.contains("SQLite format"),
            "{path}"
        );
    }
}

#[test]
fn oversized_requests_are_refused() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &[]);
    let head = "host: HOST\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let edit = "POST /api/tasks/1/edit HTTP/1.1\r\n";
    let text = "x".repeat(5 << 20);
    let large = format!("{{\"version\":0,\"instruction\":\"{text}\"}}");
    // With a content length, which may be false, and chunked, without one.
    let answer = say(
        &page,
        &format!("{edit}{head}content-length: {}\r\n\r\n{large}", large.len()),
    );
    assert_eq!(status(&answer), 413);
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert_eq!(
        status(&say(
            &page,
            &format!("{edit}{head}transfer-encoding: chunked\r\n\r\n{chunk}")
        )),
        413
    );
    assert_eq!(
        status(&say(
            &page,
            &format!("{edit}{head}content-length: 99999999999\r\n\r\n{{}}")
        )),
        413
    );
    let asks = format!(
        "{edit}{head}expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        large.len()
    );
    assert_eq!(status(&say(&page, &asks)), 413);
    // An ambiguous request is refused.
    let two = format!("{edit}{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}");
    assert_eq!(status(&say(&page, &two)), 400);
    let both = format!("{edit}{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!([400, 422].contains(&status(&say(&page, &both))));
    // An endless head and an endless path.
    assert!([0, 400, 431].contains(&get(
        &page,
        "/",
        &format!("host: HOST\r\nx: {}\r\n", "y".repeat(2 << 20))
    )));
    assert!([0, 400, 414, 431].contains(&get(
        &page,
        &format!("/{}", "y".repeat(2 << 20)),
        "host: HOST\r\n"
    )));
    for nonsense in [
        "\r\n\r\n",
        "hello\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: HOST\r\n\r\n",
    ] {
        assert!([0, 400].contains(&status(&say(&page, nonsense))), "{nonsense:?}");
    }
    assert_eq!(
        number(&dir, "select max(length(instruction)) < 1000 from task"),
        1
    );
    assert_eq!(get(&page, "/api/tasks", "host: HOST\r\n"), 200);
}

/// Seconds until the server closes the connection; it may send something before.
fn seconds_until_closed(mut stream: TcpStream) -> u64 {
    let start = Instant::now();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(
        ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "never closed"
    );
    start.elapsed().as_secs()
}

#[test]
fn slow_clients_are_disconnected_and_hold_nobody_up() {
    let dir = Dir::with_dataset();
    // Large enough that an export does not fit into the sockets' buffers.
    let row = |i| serde_json::json!({ "instruction": format!("{i} {}", "i".repeat(500_000)), "input": "", "output": "o".repeat(1_500_000) });
    let rows: Vec<_> = (0..20).map(row).collect();
    dir.write("large.json", serde_json::to_string(&rows).unwrap());
    ewe(&dir, &["import", "--db", "d.db", "large.json", "-q"]).success();
    let page = Page::start(&dir, &[]);
    let sockets = page.sockets();

    let mut half_a_head = connect(&page);
    half_a_head.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
    let idle = connect(&page);
    let mut kept = connect(&page);
    kept.write_all(format!("GET /page.js HTTP/1.1\r\nhost: {}\r\n\r\n", host(&page)).as_bytes())
        .unwrap();
    let mut half_a_body = connect(&page);
    let head = "POST /api/undo HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    half_a_body
        .write_all(head.replace("HOST", host(&page)).as_bytes())
        .unwrap();
    // An export that nobody reads.
    let order = "{\"format\":\"alpaca\",\"filter\":{}}";
    let answer = say(
        &page,
        &format!(
            "POST /api/export HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{order}",
            order.len()
        ),
    );
    let url = answer
        .split("\"url\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let mut unread = connect(&page);
    unread
        .write_all(format!("GET {url} HTTP/1.1\r\nhost: {}\r\n\r\n", host(&page)).as_bytes())
        .unwrap();

    // Two hundred more connections that send nothing.
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(&page)).collect();
    let start = Instant::now();
    assert_eq!(get(&page, "/api/tasks", "host: HOST\r\n"), 200);
    // The slow ones are cut off after 10 s, a body after 30.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    for (stream, most) in [(half_a_head, 25), (idle, 25), (kept, 25), (half_a_body, 75)] {
        assert!(seconds_until_closed(stream) <= most);
    }
    drop(crowd);
    // The export is cut off; what was not read by then is lost with the connection.
    until("the end of the export", || page.sockets() <= sockets);
    let mut taken = 0;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = unread.read(&mut buffer) {
        taken += count;
    }
    assert!(
        taken < 30_000_000,
        "{taken} bytes were kept for somebody who did not read"
    );
    // The log can be truncated: no reader holds an old snapshot.
    assert_eq!(dir.sql("pragma wal_checkpoint(truncate)")[0][0], "0");
}
