//! A chat completion end point on this machine that goes wrong in every way we know.
#![allow(dead_code, reason = "each test file uses a part of it")]

mod batches;

pub(crate) use batches::Trouble;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What may go wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// 429 without a word on when to come back.
    Busy,
    /// 429 with `Retry-After`.
    BusyFor,
    /// 500 with a JSON error.
    Broken,
    /// 502 with a page of HTML.
    Gateway,
    /// The connection ends before any answer.
    Hangup,
    /// The connection ends in the middle of the body.
    Cut,
    /// A byte now and then, past every time-out.
    Drip,
    /// 200 with half a JSON document.
    HalfJson,
    /// 200 with JSON that is no completion.
    OtherJson,
    /// 200 with a page of HTML.
    Page,
    /// The whole response twice on one connection.
    Twice,
    /// The same choice twice in one response.
    TwiceInside,
    /// A text that the length limit cut off.
    Long,
    /// A refusal.
    Refusal,
    /// Nothing.
    Empty,
    /// 400: this prompt is never taken.
    Rejected,
}

pub(crate) const ALL: [Fault; 15] = [
    Fault::Busy,
    Fault::BusyFor,
    Fault::Broken,
    Fault::Gateway,
    Fault::Hangup,
    Fault::Cut,
    Fault::Drip,
    Fault::HalfJson,
    Fault::OtherJson,
    Fault::Page,
    Fault::Twice,
    Fault::TwiceInside,
    Fault::Long,
    Fault::Refusal,
    Fault::Empty,
];

/// How the end point behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// How long an answer takes.
    pub latency: Duration,
    /// Which faults, and which share of the requests have one, all alike.
    pub faults: Vec<Fault>,
    pub share: f64,
    /// Whether `n` is obeyed.
    pub gives_n: bool,
    /// Leave out `usage`.
    pub without_usage: bool,
    /// Headers of every good answer.
    pub headers: Vec<(String, String)>,
    /// The whole text of every answer, in place of one that repeats the claim.
    pub text: Option<String>,
    /// The key that is asked for; the error quotes what came.
    pub key: Option<String>,
    /// What goes wrong with batches.
    pub trouble: Option<Trouble>,
}

/// What the end point saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub requests: u64,
    /// Samples that left in whole and good responses.
    pub whole: u64,
    /// Samples that were computed, whether or not they arrived.
    pub paid: u64,
    pub by_fault: BTreeMap<String, u64>,
    pub most_at_once: u64,
    pub bodies: Vec<String>,
}

pub(crate) struct Server {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
}

struct State {
    behaviour: Behaviour,
    seen: Arc<Mutex<Seen>>,
    next: AtomicU64,
    at_once: AtomicU64,
    batches: Mutex<batches::Batches>,
}

impl Server {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let state = Arc::new(State {
            behaviour,
            seen: seen.clone(),
            next: AtomicU64::new(0),
            at_once: AtomicU64::new(0),
            batches: Mutex::default(),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || {
                    let _ = talk(&stream, &state);
                });
            }
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection.
fn talk(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut length, mut key, mut line) = (0, String::new(), String::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "authorization" => value.trim().clone_into(&mut key),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let now = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let mut seen = state.seen.lock().unwrap();
            seen.requests += 1;
            seen.most_at_once = seen.most_at_once.max(now);
            if seen.bodies.len() < 1000 {
                seen.bodies
                    .push(String::from_utf8_lossy(&body).into_owned());
            }
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let goes_on = if path.ends_with("/chat/completions") {
            answer(&mut writer, &body, &key, state)
        } else {
            match batches::answer(method, path, &body, state) {
                Some(text) => send(&mut writer, "200 OK", &[], &text),
                None => Ok(false),
            }
        };
        state.at_once.fetch_sub(1, Ordering::SeqCst);
        if !goes_on? {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn answer(to: &mut &TcpStream, body: &[u8], key: &str, state: &State) -> std::io::Result<bool> {
    let behaviour = &state.behaviour;
    let number = state.next.fetch_add(1, Ordering::SeqCst);
    if let Some(wanted) = &behaviour.key
        && key != format!("Bearer {wanted}")
    {
        let text = json!({ "error": { "message": format!("Incorrect API key provided: {key}") } });
        return send(to, "401 Unauthorized", &[], &text.to_string());
    }
    std::thread::sleep(behaviour.latency);
    let mut random = Lot::new(number);
    let fault = (random.share() < behaviour.share && !behaviour.faults.is_empty())
        .then(|| behaviour.faults[random.below(behaviour.faults.len())]);
    let request: Value = serde_json::from_slice(body).unwrap();
    let n = if behaviour.gives_n {
        request["n"].as_u64().unwrap_or(1)
    } else {
        1
    };
    let good = completion(&request, n, number, fault, behaviour);
    {
        let mut seen = state.seen.lock().unwrap();
        if let Some(fault) = fault {
            *seen.by_fault.entry(format!("{fault:?}")).or_default() += 1;
        }
        let is_paid = !matches!(
            fault,
            Some(Fault::Busy | Fault::BusyFor | Fault::Broken | Fault::Gateway | Fault::Rejected)
        );
        seen.paid += if is_paid { n } else { 0 };
    }
    let page = "<html><head><title>502 Bad Gateway</title></head></html>";
    let error =
        json!({ "error": { "message": "something is wrong", "type": "server_error" } }).to_string();
    match fault {
        Some(Fault::Busy) => return send(to, "429 Too Many Requests", &[], &error),
        Some(Fault::BusyFor) => {
            let after = [("Retry-After".to_owned(), "0".to_owned())];
            return send(to, "429 Too Many Requests", &after, &error);
        }
        Some(Fault::Broken) => return send(to, "500 Internal Server Error", &[], &error),
        Some(Fault::Gateway) => return send(to, "502 Bad Gateway", &[], page),
        Some(Fault::Rejected) => return send(to, "400 Bad Request", &[], &error),
        Some(Fault::Hangup) => return Ok(false),
        Some(Fault::Cut) => {
            let whole = response("200 OK", &[], &good);
            to.write_all(&whole.as_bytes()[..whole.len() - good.len() / 2])?;
            return Ok(false);
        }
        Some(Fault::Drip) => {
            for byte in response("200 OK", &[], &good).bytes() {
                to.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(20));
            }
            return Ok(false);
        }
        Some(Fault::HalfJson) => return send(to, "200 OK", &[], &good[..good.len() / 2]),
        Some(Fault::OtherJson) => return send(to, "200 OK", &[], "{\"status\": \"fine\"}"),
        Some(Fault::Page) => return send(to, "200 OK", &[], page),
        _ => {}
    }
    state.seen.lock().unwrap().whole += n;
    let text = response("200 OK", &behaviour.headers, &good);
    to.write_all(text.as_bytes())?;
    if fault == Some(Fault::Twice) {
        to.write_all(text.as_bytes())?;
    }
    Ok(true)
}

fn completion(
    request: &Value,
    n: u64,
    number: u64,
    fault: Option<Fault>,
    behaviour: &Behaviour,
) -> String {
    let messages = request["messages"].as_array().unwrap();
    let prompt = messages.last().unwrap()["content"].as_str().unwrap();
    let claim = prompt.lines().next().unwrap().trim_start_matches("Claim: ");
    let text = match fault {
        Some(Fault::Long) => "The warm air".to_owned(),
        Some(Fault::Refusal) => "I'm sorry, but I can't help with that.".to_owned(),
        Some(Fault::Empty) => String::new(),
        _ => behaviour.text.clone().unwrap_or_else(|| {
            format!("Label: supported\nAnswer {number} to <{claim}>: because the air is warm, the ice melts.")
        }),
    };
    let finish = if fault == Some(Fault::Long) {
        "length"
    } else {
        "stop"
    };
    let mut choices: Vec<Value> = (0..n)
        .map(|index| {
            let message = json!({ "role": "assistant", "content": text });
            json!({ "index": index, "message": message, "finish_reason": finish })
        })
        .collect();
    if fault == Some(Fault::TwiceInside) {
        choices.insert(0, choices[0].clone());
    }
    let mut body = json!({
        "id": format!("chatcmpl-{number}"), "object": "chat.completion",
        "model": request["model"], "choices": choices,
    });
    if !behaviour.without_usage {
        let words = |text: &str| text.split_whitespace().count() as u64;
        body["usage"] = json!({
            "prompt_tokens": words(prompt), "completion_tokens": n * words(&text),
            "total_tokens": words(prompt) + n * words(&text),
        });
    }
    body.to_string()
}

fn response(status: &str, headers: &[(String, String)], body: &str) -> String {
    let kind = if body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text = text + name + ": " + value + "\r\n";
    }
    text + "\r\n" + body
}

fn send(
    to: &mut &TcpStream,
    status: &str,
    headers: &[(String, String)],
    body: &str,
) -> std::io::Result<bool> {
    to.write_all(response(status, headers, body).as_bytes())?;
    Ok(true)
}

/// A small seeded generator (`SplitMix64`), so that this server needs nothing of ours.
pub(crate) struct Lot(u64);

impl Lot {
    pub(crate) fn new(seed: u64) -> Self {
        let mut lot = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        lot.next();
        lot
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
