//! One request to one end point, and everything that can come of it.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use stillhouse_core::fs;

use crate::access::{Access, EndPoint};
use crate::answer::{self, Answer};
use crate::error::{Error, Result};
use crate::options::Timeouts;
use crate::rate::Headers;

/// A longer body is no answer.
const LONGEST_BODY: u64 = 64 << 20;

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// No connection: the end point never saw the request.
    Unreached,
    /// The end point said that it has too much to do.
    Busy,
    /// The end point broke: status 500 and the like.
    Server,
    /// The connection broke off after the request was sent.
    Cut,
    /// A time-out ran out after the request was sent.
    Late,
    /// Something came that is no answer.
    Unreadable,
    /// The end point does not take this request; asking again would not help.
    Rejected,
    /// No request to this end point can work.
    Fatal,
}

impl Fault {
    /// The word in counts and in the ledger.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreached => "unreached",
            Self::Busy => "busy",
            Self::Server => "server",
            Self::Cut => "cut",
            Self::Late => "late",
            Self::Unreadable => "unreadable",
            Self::Rejected => "rejected",
            Self::Fatal => "fatal",
        }
    }

    /// Whether the request may have been paid although no answer came of it.
    pub(crate) fn may_be_paid(self) -> bool {
        matches!(self, Self::Cut | Self::Late | Self::Unreadable)
    }
}

/// A request that brought no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) what: String,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) answers: Result<Vec<Answer>, Failure>,
    pub(crate) headers: Headers,
}

/// Connections to one end point, shared by threads.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    end_point: EndPoint,
}

impl Client {
    pub(crate) fn new(
        end_point: &EndPoint,
        access: &Access,
        timeouts: &Timeouts,
        connections: usize,
    ) -> Result<Self> {
        // The message of a bad proxy could hold its password.
        let bad = |what: &str| Error::end_point(&end_point.base_url, what);
        let proxy = end_point
            .proxy
            .as_ref()
            .map(|proxy| Proxy::new(proxy.reveal()));
        let proxy = proxy
            .transpose()
            .map_err(|_| bad("the proxy's address cannot be read"))?;
        let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
        let agent = Agent::config_builder()
            .timeout_resolve(seconds(timeouts.connect_seconds))
            .timeout_connect(seconds(timeouts.connect_seconds))
            .timeout_recv_response(seconds(timeouts.first_byte_seconds))
            .timeout_global(seconds(timeouts.answer_seconds))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(roots(access)?).build())
            .user_agent(concat!("stillhouse/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self {
            agent,
            end_point: end_point.clone(),
        })
    }

    /// Asks for a chat completion with `n` samples.
    pub(crate) fn ask(&self, body: &str, n: usize) -> Came {
        let url = format!("{}/chat/completions", self.end_point.base_url);
        let mut headers = Headers::default();
        let request = self.authorized(self.agent.post(&url));
        let sent = request
            .header("Content-Type", "application/json")
            .send(body);
        let answers = self.text(sent, &mut headers).and_then(|(status, text)| {
            if (200..300).contains(&status) {
                answer::read(&text, n).map_err(|what| Failure {
                    fault: Fault::Unreadable,
                    what,
                })
            } else {
                refused(status, &text, &headers).map(|what| vec![answer::filtered(&what); n])
            }
        });
        Came { answers, headers }
    }

    /// Any other call below the base URL: the body of a good answer.
    pub(crate) fn call(&self, path: &str, body: Option<(&str, &[u8])>) -> Result<String, Failure> {
        let url = format!("{}{path}", self.end_point.base_url);
        let sent = match body {
            Some((kind, bytes)) => self
                .authorized(self.agent.post(&url))
                .header("Content-Type", kind)
                .send(bytes),
            None => self.authorized(self.agent.get(&url)).call(),
        };
        let (status, text) = self.text(sent, &mut Headers::default())?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        match refused(status, &text, &Headers::default()) {
            Ok(what) => Err(Failure {
                fault: Fault::Rejected,
                what,
            }),
            Err(failure) => Err(failure),
        }
    }

    fn authorized<S>(&self, request: ureq::RequestBuilder<S>) -> ureq::RequestBuilder<S> {
        match &self.end_point.key {
            Some(key) => request.header("Authorization", format!("Bearer {}", key.reveal())),
            None => request,
        }
    }

    /// Status and body, without the key that a server may quote.
    fn text(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
        headers: &mut Headers,
    ) -> Result<(u16, String), Failure> {
        let mut response = sent.map_err(|e| self.explain(&e, false))?;
        *headers = Headers::read(response.headers());
        let read = response
            .body_mut()
            .with_config()
            .limit(LONGEST_BODY)
            .read_to_vec();
        let bytes = read.map_err(|e| self.explain(&e, true))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok((response.status().as_u16(), self.scrub(text)))
    }

    fn scrub(&self, text: String) -> String {
        match &self.end_point.key {
            Some(key) => key.scrub(text),
            None => text,
        }
    }

    fn explain(&self, error: &ureq::Error, in_body: bool) -> Failure {
        use ureq::Error as E;
        use ureq::Timeout as T;
        let text = self.scrub(error.to_string());
        let (fault, what) = match error {
            E::Timeout(T::Resolve | T::Connect) => {
                (Fault::Unreached, format!("no connection in time ({text})"))
            }
            E::Timeout(_) => (Fault::Late, format!("no answer in time ({text})")),
            E::HostNotFound => (Fault::Unreached, "the host's name is not known".into()),
            E::ConnectionFailed => (Fault::Unreached, "cannot be reached".into()),
            E::ConnectProxyFailed(_) | E::InvalidProxyUrl => {
                (Fault::Unreached, "the proxy does not connect".into())
            }
            E::BodyExceedsLimit(_) => (
                Fault::Unreadable,
                format!("a body of more than {} MiB", LONGEST_BODY >> 20),
            ),
            E::Tls(_) | E::Rustls(_) | E::Pem(_) => (Fault::Fatal, tls(&text)),
            E::Io(_) if text.contains("ertificate") => (Fault::Fatal, tls(&text)),
            E::Io(e) if is_before_sending(e.kind()) && !in_body => {
                (Fault::Unreached, format!("cannot be reached: {text}"))
            }
            E::BadUri(_) | E::Http(_) | E::RequireHttpsOnly(_) => (Fault::Fatal, text),
            _ => (Fault::Cut, format!("the connection broke off: {text}")),
        };
        Failure { fault, what }
    }
}

fn is_before_sending(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    matches!(
        kind,
        ConnectionRefused | AddrNotAvailable | HostUnreachable | NetworkDown | NetworkUnreachable
    )
}

fn tls(text: &str) -> String {
    format!(
        "the secure connection is not trusted: {text}; for a certificate authority of your own set REQUESTS_CA_BUNDLE or SSL_CERT_FILE"
    )
}

/// What a status other than 200 means: a failure, or that the prompt was declined.
pub(crate) fn refused(status: u16, text: &str, headers: &Headers) -> Result<String, Failure> {
    let body: Option<Value> = serde_json::from_str(text).ok();
    let said = match &body {
        Some(body) => format!(": {}", answer::message_of(body)),
        None => String::new(),
    };
    let inner = body.as_ref().map(|body| body.get("error").unwrap_or(body));
    let code = |key: &str| {
        inner
            .and_then(|e| e.get(key))
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let is = |word: &str| code("code").contains(word) || code("type").contains(word);
    let fault = match status {
        400 | 403 if is("content_filter") || is("content_policy") => {
            return Ok(format!("status {status}{said}"));
        }
        429 if is("insufficient_quota") => Fault::Fatal,
        429 => Fault::Busy,
        503 if headers.wait.is_some() => Fault::Busy,
        408 | 409 | 425 | 500.. => Fault::Server,
        300..=399 | 401 | 403 | 404 | 405 | 407 => Fault::Fatal,
        _ => Fault::Rejected,
    };
    let help = match status {
        401 | 403 => "; is the key right? name its variable in teacher.api_key_var",
        404 => "; are teacher.base_url and teacher.model right?",
        300..=399 => "; the end point sends elsewhere: set teacher.base_url to the new address",
        _ => "",
    };
    let what = format!("status {status}{said}{help}");
    Err(Failure { fault, what })
}

/// The certificates to trust: the user's file, or those that are built in.
fn roots(access: &Access) -> Result<RootCerts> {
    let Some(path) = &access.certificates_file else {
        return Ok(RootCerts::WebPki);
    };
    let pem = fs::read(path)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let what = "holds no certificate in PEM form";
        return Err(stillhouse_core::Error::file(path, what).into());
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_asking_again_can_help() {
        let check = |status, body: &str, expected: &str| {
            let found = match refused(status, body, &Headers::default()) {
                Ok(what) => format!("declined {what}"),
                Err(failure) => format!("{} {}", failure.fault.name(), failure.what),
            };
            assert_eq!(found, expected);
        };
        check(
            429,
            "{\"error\":{\"message\":\"slow\"}}",
            "busy status 429: slow",
        );
        check(
            429,
            "{\"error\":{\"code\":\"insufficient_quota\"}}",
            "fatal status 429: {\"code\":\"insufficient_quota\"}",
        );
        check(500, "<html>", "server status 500");
        check(529, "", "server status 529");
        check(
            400,
            "{\"error\":{\"message\":\"too long\"}}",
            "rejected status 400: too long",
        );
        check(
            400,
            "{\"error\":{\"code\":\"content_filter\"}}",
            "declined status 400: {\"code\":\"content_filter\"}",
        );
        check(
            404,
            "",
            "fatal status 404; are teacher.base_url and teacher.model right?",
        );
        check(
            308,
            "",
            "fatal status 308; the end point sends elsewhere: set teacher.base_url to the new address",
        );
    }
}
