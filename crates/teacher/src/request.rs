//! The exact request: its body, and the hash by which the ledger knows it.

use serde_json::{Map, Value, json};
use stillhouse_core::fs;
use stillhouse_core::prompt::teacher::hash;

use crate::options::Sampling;

/// What is asked, however often.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Of which example, or of which rationale.
    pub id: String,
    /// A system message before the prompt.
    pub system: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The JSON schema that the answer is held to.
    pub schema: Option<Value>,
}

/// Questions that are made when they are needed, so that none waits in memory.
pub trait Questions {
    /// How many there are.
    fn n(&self) -> usize;
    /// The one at `at`, below [`Questions::n`].
    fn question(&self, at: usize) -> crate::Result<Question>;
}

/// A question as it goes over the wire, without the number of samples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// SHA-256 of `identity`, a line break, and `body`.
    pub(crate) hash: String,
    /// Whose answers are wanted.
    pub(crate) identity: String,
    /// The fields in the order in which they are sent.
    pub(crate) body: Map<String, Value>,
    /// SHA-256 of the prompt.
    pub(crate) prompt: String,
}

impl Request {
    pub(crate) fn new(
        question: &Question,
        model: &str,
        identity: &str,
        sampling: &Sampling,
    ) -> Self {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
        put("model", model.into());
        let system = question.system.as_ref();
        let mut messages: Vec<Value> = system
            .map(|text| json!({ "role": "system", "content": text }))
            .into_iter()
            .collect();
        messages.push(json!({ "role": "user", "content": question.prompt }));
        put("messages", messages.into());
        if let Some(temperature) = sampling.temperature {
            put("temperature", temperature.into());
        }
        if let Some(top_p) = sampling.top_p {
            put("top_p", top_p.into());
        }
        put(sampling.max_tokens_field.name(), sampling.max_tokens.into());
        if let Some(seed) = sampling.seed {
            put("seed", seed.into());
        }
        if !sampling.stop.is_empty() {
            put("stop", sampling.stop.clone().into());
        }
        if let Some(k) = sampling.top_logprobs {
            put("logprobs", true.into());
            put("top_logprobs", k.into());
        }
        if let Some(schema) = &question.schema {
            let schema = json!({ "name": "answer", "strict": true, "schema": schema });
            put(
                "response_format",
                json!({ "type": "json_schema", "json_schema": schema }),
            );
        }
        for (key, value) in &sampling.extra {
            put(key, value.clone());
        }
        let text = Value::Object(body.clone()).to_string();
        Self {
            hash: fs::sha256_of(format!("{identity}\n{text}").as_bytes()),
            identity: identity.to_owned(),
            prompt: hash(&question.prompt),
            body,
        }
    }

    /// The body for some samples of it at one end point: each sample has a seed of its own, and
    /// several share a request by `n`.
    pub(crate) fn wire(&self, model: &str, first_sample: u32, n: usize) -> Value {
        let mut body = self.body.clone();
        body.insert("model".into(), model.into());
        if let Some(seed) = body.get("seed").and_then(Value::as_u64) {
            body.insert("seed".into(), (seed + u64::from(first_sample)).into());
        }
        if n > 1 {
            body.insert("n".into(), n.into());
        }
        Value::Object(body)
    }

    /// The body as the ledger keeps it.
    pub(crate) fn text(&self) -> String {
        Value::Object(self.body.clone()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prompt: &str, sampling: &Sampling) -> Request {
        let question = Question {
            id: "1".into(),
            system: None,
            prompt: prompt.into(),
            schema: None,
        };
        Request::new(&question, "m", "http://a/v1", sampling)
    }

    #[test]
    fn the_hash_changes_with_whatever_could_change_the_answer() {
        let plain = Sampling::default();
        let first = request("p", &plain);
        assert_eq!(first, request("p", &plain));
        assert_ne!(first.hash, request("q", &plain).hash);
        let warmer = Sampling {
            temperature: Some(1.0),
            ..plain.clone()
        };
        assert_ne!(first.hash, request("p", &warmer).hash);
    }

    #[test]
    fn the_body_is_what_end_points_expect() {
        let sampling = Sampling {
            seed: Some(7),
            top_logprobs: Some(5),
            stop: vec!["##".into()],
            ..Sampling::default()
        };
        let body = request("p", &sampling).wire("other", 3, 2).to_string();
        assert_eq!(
            body,
            r###"{"model":"other","messages":[{"role":"user","content":"p"}],"temperature":0.7,"max_tokens":512,"seed":10,"stop":["##"],"logprobs":true,"top_logprobs":5,"n":2}"###
        );
    }
}
