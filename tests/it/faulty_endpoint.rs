//! An endpoint that misbehaves on a schedule, down to the socket. Otherwise it responds as `mock`
//! does. It records every request.

use crate::mock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// 0 for the first request.
    pub number: usize,
    pub time: Instant,
    pub path: String,
    /// One `name: value` per line.
    pub headers: String,
    pub body: Value,
    /// Requests in flight at that moment, this one included.
    pub in_flight: usize,
}

impl Asked {
    /// The prompt, of a completion or a chat.
    pub fn prompt(&self) -> &str {
        let message = &self.body["messages"][1]["content"];
        self.body["prompt"].as_str().or(message.as_str()).unwrap()
    }

    /// The seed; 0 if none was sent.
    pub fn seed(&self) -> u64 {
        self.body["seed"].as_u64().unwrap_or(0)
    }

    /// The mock's text for this request, and its finish reason.
    pub fn written(&self) -> (String, &'static str) {
        mock::write(self.prompt(), self.seed())
    }

    /// The good response.
    pub fn answer(&self) -> Value {
        let (text, finish) = self.written();
        let choice = match self.body.get("messages") {
            Some(_) => json!({"index": 0, "message": {"content": text}, "finish_reason": finish}),
            None => json!({"index": 0, "text": text, "finish_reason": finish}),
        };
        json!({"choices": [choice], "usage": {"prompt_tokens": 8, "completion_tokens": 2}})
    }
}

/// What the server does with a request.
pub enum Reply {
    /// The good response.
    Answer,
    /// The good response after a delay.
    After(Duration),
    /// The good response, together with all that wait for one, once no request has come for this
    /// long. By then everything is in flight that the client sends at once, however slow it is.
    Settled(Duration),
    /// The good response, once the test sets this.
    When(Arc<AtomicBool>),
    /// This body, counted as answered.
    Says(Value),
    /// These bytes, counted as answered.
    Raw(Vec<u8>),
    /// A status, headers (each ended by `\r\n`) and a body.
    Status(u16, String, Vec<u8>),
    /// The first bytes of the good response, then a connection reset.
    Reset(usize),
    /// The good response a byte at a time, with this pause between bytes.
    Drip(Duration),
    /// These bytes, head included; then the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing; the connection is closed.
    Silence,
}

/// An error in OpenAI's format.
pub fn refusal(status: u16, message: &str) -> Reply {
    let body = json!({"error": {"message": message}}).to_string();
    Reply::Status(status, String::new(), body.into_bytes())
}

/// The model list of a server with these models.
pub fn models(names: &[&str]) -> Reply {
    let models: Vec<Value> = names
        .iter()
        .map(|name| json!({"id": name, "object": "model"}))
        .collect();
    let body = json!({"object": "list", "data": models}).to_string();
    Reply::Status(200, String::new(), body.into_bytes())
}

/// A 200 with an invalid body.
pub fn nonsense(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Status(200, String::new(), body.into())
}

#[derive(Default)]
struct Diary {
    asked: Vec<Asked>,
    answered: BTreeMap<String, usize>,
    in_flight: usize,
    /// Requests before this number need not wait for silence any more.
    settled: usize,
}

/// A running server; it ends with the test process.
pub struct Server {
    pub url: String,
    diary: Arc<Mutex<Diary>>,
}

impl Server {
    /// Starts a server that does with each request what `schedule` says.
    pub fn start(schedule: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let diary: Arc<Mutex<Diary>> = Arc::default();
        let (shared, schedule) = (diary.clone(), Arc::new(schedule));
        let address = mock::listen(async move |listener| {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (diary, schedule) = (shared.clone(), schedule.clone());
                tokio::spawn(async move {
                    // A client that has disconnected does not fail the test.
                    let _ = serve(stream, &diary, &*schedule).await;
                });
            }
        });
        Server {
            url: format!("http://{address}/v1"),
            diary,
        }
    }

    /// All requests, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.diary.lock().unwrap().asked.clone()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.diary.lock().unwrap().asked.len()
    }

    /// How often each request got a complete response.
    pub fn answered(&self) -> BTreeMap<String, usize> {
        self.diary.lock().unwrap().answered.clone()
    }
}

/// Serves one connection until the client closes it.
async fn serve(
    mut stream: TcpStream,
    diary: &Mutex<Diary>,
    schedule: &(impl Fn(&Asked) -> Reply + ?Sized),
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some((head, body)) = receive(&mut stream).await? {
        let asked = {
            let mut diary = diary.lock().unwrap();
            diary.in_flight += 1;
            let (first, headers) = head.split_once("\r\n").unwrap();
            let asked = Asked {
                number: diary.asked.len(),
                time: Instant::now(),
                path: first.split(' ').nth(1).unwrap().to_string(),
                headers: headers.to_string(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
                in_flight: diary.in_flight,
            };
            diary.asked.push(asked.clone());
            asked
        };
        let reply = schedule(&asked);
        if let Reply::Settled(quiet) = reply {
            settled(diary, asked.number, quiet).await;
        }
        let done = respond(&mut stream, &asked, reply).await;
        let mut diary = diary.lock().unwrap();
        diary.in_flight -= 1;
        match done? {
            Done::Answered => {
                let question = mock::question(asked.prompt(), asked.seed());
                *diary.answered.entry(question).or_default() += 1;
            }
            Done::Failed => {}
            Done::Closed => break,
        }
    }
    Ok(())
}

enum Done {
    Answered,
    Failed,
    Closed,
}

/// Waits until no request has come for so long, looked at several times: after a moment in which the
/// server itself did not run, what came meanwhile is read first.
async fn settled(diary: &Mutex<Diary>, number: usize, quiet: Duration) {
    const LOOKS: u32 = 4;
    let (mut known, mut looks) = (0, 0);
    loop {
        {
            let mut diary = diary.lock().unwrap();
            let there = diary.asked.len();
            looks = if there == known { looks + 1 } else { 0 };
            known = there;
            if looks >= LOOKS {
                diary.settled = there;
            }
            if number < diary.settled {
                return;
            }
        }
        tokio::time::sleep(quiet / LOOKS).await;
    }
}

async fn respond(stream: &mut TcpStream, asked: &Asked, reply: Reply) -> std::io::Result<Done> {
    let whole = |body: &[u8]| [head(200, "", body.len()).as_bytes(), body].concat();
    // A request for the model list has no prompt.
    let answer = match asked.body.is_null() {
        true => Vec::new(),
        false => asked.answer().to_string().into_bytes(),
    };
    match reply {
        Reply::Raw(body) => stream.write_all(&whole(&body)).await?,
        Reply::Answer | Reply::Settled(_) => stream.write_all(&whole(&answer)).await?,
        Reply::After(time) => {
            tokio::time::sleep(time).await;
            stream.write_all(&whole(&answer)).await?;
        }
        Reply::When(is_wanted) => {
            while !is_wanted.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            stream.write_all(&whole(&answer)).await?;
        }
        Reply::Says(body) => stream.write_all(&whole(body.to_string().as_bytes())).await?,
        Reply::Status(status, headers, body) => {
            let message = [head(status, &headers, body.len()).as_bytes(), &body].concat();
            stream.write_all(&message).await?;
            return Ok(Done::Failed);
        }
        Reply::Reset(bytes) => {
            let message = whole(&answer);
            let end = message.len() - answer.len() + bytes.min(answer.len() - 1);
            stream.write_all(&message[..end]).await?;
            stream.set_zero_linger()?;
            return Ok(Done::Closed);
        }
        Reply::Drip(pause) => {
            for byte in whole(&answer) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            return Ok(Done::Closed);
        }
        Reply::Silence => return Ok(Done::Closed),
    }
    Ok(Done::Answered)
}

fn head(status: u16, headers: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
    )
}

/// The next request: its head without the blank line, and its body. `None` once the client has
/// closed the connection.
async fn receive(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            let mut body = bytes.split_off(end + 4);
            let received = body.len();
            body.resize(length, 0);
            stream.read_exact(&mut body[received..]).await?;
            // Header values are case-sensitive, and tests search for the key in them.
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            return Ok(Some((head, body)));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}
