//! Batches as `OpenAI` has them: files go in, answers come out later, shuffled, and with the
//! behaviour's share of lines missing, refused or twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Lot, State, completion};

/// What goes wrong with a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection ends after the first batch was made, before saying so.
    HangsUpOnFirst,
    /// Each ends as failed.
    Fails,
}

#[derive(Debug, Default)]
pub(crate) struct Batches {
    files: BTreeMap<String, String>,
    all: Vec<Value>,
    n_files: usize,
    polls: usize,
}

/// The answer to one request; none hangs up.
pub(crate) fn answer(method: &str, path: &str, body: &[u8], state: &State) -> Option<String> {
    let mut batches = state.batches.lock().unwrap();
    let text = String::from_utf8_lossy(body).into_owned();
    let path = path.trim_start_matches("/v1");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match (method, parts.as_slice()) {
        ("POST", ["files"]) => {
            assert!(text.contains("name=\"purpose\"\r\n\r\nbatch\r\n"), "{text}");
            let from = text.find("application/jsonl\r\n\r\n").unwrap() + 21;
            let to = text.rfind("\r\n--").unwrap();
            let id = batches.keep(&text[from..to]);
            json!({ "id": id, "object": "file" }).to_string()
        }
        ("POST", ["batches"]) => {
            let order: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(order["endpoint"], "/v1/chat/completions");
            let id = format!("batch_{}", batches.all.len());
            let batch = json!({
                "id": id, "status": "validating", "metadata": order["metadata"],
                "input_file_id": order["input_file_id"],
            });
            batches.all.push(batch.clone());
            if state.behaviour.trouble == Some(Trouble::HangsUpOnFirst) && batches.all.len() == 1 {
                return None;
            }
            batch.to_string()
        }
        ("GET", ["batches"]) => {
            // One a page, the newest first.
            let from = query
                .split("after=batch_")
                .nth(1)
                .map_or(batches.all.len(), |n| n.parse().unwrap());
            let page: Vec<&Value> = batches.all[..from].iter().rev().take(1).collect();
            json!({ "data": page, "has_more": from > 1 }).to_string()
        }
        ("GET", ["batches", id]) => {
            let at: usize = id.trim_start_matches("batch_").parse().unwrap();
            batches.polls += 1;
            if batches.polls.is_multiple_of(3) && batches.all[at]["status"] == "validating" {
                batches.finish(at, state);
            }
            batches.all[at].to_string()
        }
        ("GET", ["files", id, "content"]) => batches.files[*id].clone(),
        other => panic!("{other:?}"),
    })
}

impl Batches {
    fn keep(&mut self, text: &str) -> String {
        self.n_files += 1;
        let id = format!("file-{}", self.n_files);
        self.files.insert(id.clone(), text.to_owned());
        id
    }

    fn finish(&mut self, at: usize, state: &State) {
        if state.behaviour.trouble == Some(Trouble::Fails) {
            let errors = json!({ "data": [{ "message": "the model does not do batches" }] });
            self.all[at]["status"] = "failed".into();
            self.all[at]["errors"] = errors;
            return;
        }
        let input = self.files[self.all[at]["input_file_id"].as_str().unwrap()].clone();
        let mut random = Lot::new(at as u64);
        let (mut good, mut bad, mut n_expired) = (Vec::new(), Vec::new(), 0);
        for (number, line) in input.lines().enumerate() {
            let line: Value = serde_json::from_str(line).unwrap();
            let number = (at * 100_000 + number) as u64;
            let body = completion(&line["body"], 1, number, None, &state.behaviour);
            let response = |status: u16, body: Value| {
                json!({
                    "custom_id": line["custom_id"], "error": null,
                    "response": { "status_code": status, "body": body },
                })
                .to_string()
            };
            let answered = response(200, serde_json::from_str(&body).unwrap());
            if random.share() >= state.behaviour.share {
                state.seen.lock().unwrap().whole += 1;
                good.push(answered);
                continue;
            }
            match random.below(4) {
                0 => n_expired += 1,
                1 => bad.push(response(500, json!({ "error": { "message": "oh" } }))),
                2 => good.push(response(200, json!({ "status": "odd" }))),
                _ => {
                    state.seen.lock().unwrap().whole += 1;
                    good.extend([answered.clone(), answered]);
                }
            }
        }
        for last in (1..good.len()).rev() {
            good.swap(last, random.below(last + 1));
        }
        let (output, errors) = (self.keep(&good.join("\n")), self.keep(&bad.join("\n")));
        let status = if n_expired > 0 {
            "expired"
        } else {
            "completed"
        };
        let batch = &mut self.all[at];
        batch["status"] = status.into();
        batch["output_file_id"] = output.into();
        batch["error_file_id"] = errors.into();
        batch["request_counts"] =
            json!({ "total": input.lines().count(), "completed": good.len(), "failed": bad.len() });
    }
}
