//! What it costs: prices, token counts, and the purse that holds a run under its caps.

use std::collections::BTreeMap;

use crate::access::Access;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::options::{Kind, Price, TeacherOptions};
use crate::request::Request;

/// Counts the tokens of a text as the teacher's tokenizer does, or estimates them.
pub type CountTokens<'a> = dyn Fn(&str) -> usize + 'a;

/// Tokens that a chat template puts around one message, and around them all.
const AROUND_MESSAGE: u64 = 4;
const AROUND_ALL: u64 = 3;

/// The price of `model`: the given one, else the built-in table's; nothing where a server on this
/// machine answers, and `None` where it is not known.
///
/// # Panics
///
/// Never: a test reads the built-in table.
pub fn price_of(given: Option<&Price>, model: &str, access: &Access) -> Option<Price> {
    if let Some(price) = given {
        return Some(price.clone());
    }
    if access.is_local() {
        return Some(Price {
            prompt: 0.0,
            completion: 0.0,
            currency: "USD".into(),
            batch: 1.0,
        });
    }
    let table: BTreeMap<String, Price> =
        toml::from_str(include_str!("prices.toml")).expect("a test reads this table");
    let known = table.into_iter().filter(|(name, _)| {
        // "gpt-4o" is not "gpt-4": after the name comes a date or a version, or nothing.
        model.strip_prefix(name.as_str()).is_some_and(|rest| {
            rest.is_empty()
                || rest.starts_with("-2")
                || rest.starts_with("-0")
                || rest.starts_with("-1")
        })
    });
    known
        .max_by_key(|(name, _)| name.len())
        .map(|(_, price)| price)
}

impl Price {
    /// What so many tokens cost; `kind` knows whether a batch is cheaper.
    pub fn of(&self, prompt_tokens: f64, completion_tokens: f64, kind: Kind) -> f64 {
        let share = if kind == Kind::Batch { self.batch } else { 1.0 };
        share * (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6
    }
}

/// A count without a tokenizer, for English and the vocabularies of today.
///
/// A short word is one token, a long one some more; digits go by threes, other marks one by one,
/// letters of other scripts one by one as well. The whole is scaled to lie between what
/// vocabularies of 32,000 and of 64,000 tokens make of encyclopaedic English: it is 6 % below
/// the one and 5 % above the other.
pub fn estimate_tokens(text: &str) -> usize {
    let mut tokens = 0.0;
    let mut letters = 0_usize;
    let mut digits = 0_usize;
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphabetic() || (c.is_alphabetic() && c.len_utf8() == 2) {
            letters += c.len_utf8();
            continue;
        }
        if letters > 0 {
            tokens += if letters <= 6 {
                1.0
            } else {
                1.0 + (letters - 6) as f64 / 9.0
            };
            letters = 0;
        }
        if c.is_ascii_digit() {
            digits += 1;
            continue;
        }
        tokens += digits.div_ceil(3) as f64;
        digits = 0;
        match c {
            ' ' => {}
            c if c.is_alphabetic() => tokens += 1.0,
            '\n' => tokens += 0.8,
            _ => tokens += 0.95,
        }
    }
    #[expect(clippy::cast_sign_loss, reason = "a sum of positive numbers")]
    let whole = (1.09 * tokens).ceil() as usize;
    whole
}

/// The prompt tokens of one request.
pub(crate) fn prompt_tokens(request: &Request, count: &CountTokens<'_>) -> u64 {
    let messages = request.body.get("messages").and_then(|m| m.as_array());
    let text = |message: &serde_json::Value| {
        let content = message
            .get("content")
            .and_then(|c| c.as_str())
            .unwrap_or("");
        count(content) as u64 + AROUND_MESSAGE
    };
    messages.into_iter().flatten().map(text).sum::<u64>() + AROUND_ALL
}

/// Cents where they matter, more digits where the sum is small.
pub(crate) fn money(amount: f64) -> String {
    if amount == 0.0 || amount >= 1.0 {
        format!("{amount:.2}")
    } else {
        format!("{amount:.4}")
    }
}

/// Holds a run under its caps: what is in flight counts with the most that it can cost.
#[derive(Clone, Debug)]
pub(crate) struct Purse {
    pub(crate) price: Option<Price>,
    kind: Kind,
    max_cost: Option<f64>,
    max_requests: Option<u64>,
    spent: f64,
    sent: u64,
    reserved: f64,
}

/// Whether the purse allows a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Allows {
    Yes,
    /// Perhaps, when what is in flight turns out cheaper than it could be.
    Later,
    No(&'static str, String),
}

impl Purse {
    pub(crate) fn open(options: &TeacherOptions, access: &Access, ledger: &Ledger) -> Result<Self> {
        let model = options.model.as_deref().unwrap_or_default();
        let price = price_of(options.price.as_ref(), model, access);
        if options.max_cost.is_some() && price.is_none() {
            let what = format!(
                "cannot be held: the price of {model} is not known; set teacher.price = {{ prompt = ..., completion = ... }} for a million tokens"
            );
            return Err(Error::option("teacher.max_cost", what));
        }
        let spent = ledger.spent()?;
        Ok(Self {
            price,
            kind: options.kind,
            max_cost: options.max_cost,
            max_requests: options.max_requests,
            spent: spent.cost + spent.lost_cost,
            sent: spent.requests,
            reserved: 0.0,
        })
    }

    pub(crate) fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        let price = self.price.as_ref()?;
        Some(price.of(prompt_tokens as f64, completion_tokens as f64, self.kind))
    }

    /// Whether a request may go that costs `most` at most.
    pub(crate) fn allows(&self, most: Option<f64>) -> Allows {
        if let Some(max) = self.max_requests.filter(|max| self.sent >= *max) {
            let what = format!("{} of {max} requests were sent", self.sent);
            return Allows::No("teacher.max_requests", what);
        }
        let (Some(max), Some(most)) = (self.max_cost, most) else {
            return Allows::Yes;
        };
        // Rounding must not stop the last request of an exact budget.
        let over = |sum: f64| sum > max * (1.0 + 1e-9);
        if over(self.spent + most) {
            let currency = self.price.as_ref().map_or("", |price| &price.currency);
            let what = format!(
                "{} of {} {currency} are spent, and the next request can cost {}",
                money(self.spent),
                money(max),
                money(most)
            );
            return Allows::No("teacher.max_cost", what);
        }
        if over(self.spent + self.reserved + most) {
            return Allows::Later;
        }
        Allows::Yes
    }

    pub(crate) fn send(&mut self, most: Option<f64>) {
        self.sent += 1;
        self.reserved += most.unwrap_or(0.0);
    }

    /// A request is over, and cost this: of lost ones what they can have cost.
    pub(crate) fn settle(&mut self, most: Option<f64>, cost: f64) {
        self.reserved -= most.unwrap_or(0.0);
        self.spent += cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::EndPoint;

    fn access(base_url: &str) -> Access {
        Access {
            end_points: vec![EndPoint {
                base_url: base_url.into(),
                model: "m".into(),
                key: None,
                proxy: None,
                weight: 1.0,
            }],
            certificates_file: None,
        }
    }

    #[test]
    fn a_price_is_given_known_or_nothing_on_this_machine() {
        let far = access("https://api.openai.com/v1");
        let check = |model: &str, expected: Option<f64>| {
            assert_eq!(
                price_of(None, model, &far).map(|p| p.prompt),
                expected,
                "{model}"
            );
        };
        check("gpt-4o", Some(2.5));
        check("gpt-4o-2024-08-06", Some(2.5));
        check("gpt-4o-mini-2024-07-18", Some(0.15));
        check("gpt-4-0613", Some(30.0));
        check("gpt-4o-audio", None);
        check("some-large-model", None);
        let near = access("http://127.0.0.1:1/v1");
        let free = price_of(None, "some-large-model", &near).map(|p| p.prompt);
        assert_eq!(free, Some(0.0));
    }

    #[test]
    fn a_purse_never_pays_more_than_its_cap() {
        let price = Price {
            prompt: 1e6,
            completion: 1e6,
            currency: "USD".into(),
            batch: 0.5,
        };
        let mut purse = Purse {
            price: Some(price),
            kind: Kind::Http,
            max_cost: Some(10.0),
            max_requests: Some(4),
            spent: 2.0,
            sent: 0,
            reserved: 0.0,
        };
        assert_eq!(purse.cost(1, 2), Some(3.0));
        assert_eq!(purse.allows(Some(5.0)), Allows::Yes);
        purse.send(Some(5.0));
        assert_eq!(purse.allows(Some(5.0)), Allows::Later);
        purse.settle(Some(5.0), 1.0);
        assert_eq!(purse.allows(Some(7.0)), Allows::Yes);
        assert!(matches!(
            purse.allows(Some(7.1)),
            Allows::No("teacher.max_cost", _)
        ));
        for _ in 0..3 {
            purse.send(None);
        }
        assert!(matches!(
            purse.allows(None),
            Allows::No("teacher.max_requests", _)
        ));
    }
}
