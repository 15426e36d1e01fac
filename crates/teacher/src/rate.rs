//! How fast a teacher may be asked: our own limits, and what an end point's headers say.

use ureq::http::HeaderMap;

/// A bucket that fills by the second: one second's worth may go at once.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    level: f64,
    at: f64,
}

impl Bucket {
    pub(crate) fn per_minute(amount: f64, now: f64) -> Self {
        let per_second = amount / 60.0;
        Self {
            per_second,
            level: per_second.max(1.0),
            at: now,
        }
    }

    /// Seconds until `amount` may go; what is more than a second's worth goes from a full
    /// bucket, and the next waits the longer.
    pub(crate) fn wait(&mut self, amount: f64, now: f64) -> f64 {
        let full = self.per_second.max(1.0);
        self.level = (self.level + (now - self.at) * self.per_second).min(full);
        self.at = now;
        ((amount.min(full) - self.level) / self.per_second).max(0.0)
    }

    pub(crate) fn take(&mut self, amount: f64) {
        self.level -= amount;
    }
}

/// What an end point says about its own limits, in seconds from now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Headers {
    /// `Retry-After`: nothing before.
    pub(crate) wait: Option<f64>,
    /// Requests that are left, and when there will be more.
    pub(crate) requests: Option<(f64, f64)>,
    /// Tokens that are left, and when there will be more.
    pub(crate) tokens: Option<(f64, f64)>,
}

impl Headers {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let left = |what: &str| {
            let left = text(&format!("x-ratelimit-remaining-{what}"))?
                .trim()
                .parse()
                .ok()?;
            let reset = span(text(&format!("x-ratelimit-reset-{what}"))?)?;
            Some((left, reset))
        };
        let milliseconds = text("retry-after-ms").and_then(|v| v.trim().parse::<f64>().ok());
        let wait = milliseconds.map(|ms| ms / 1000.0).or_else(|| {
            let after = text("retry-after")?.trim();
            // A date counts from the end point's own clock.
            after
                .parse()
                .ok()
                .or_else(|| Some(date(after)? - date(text("date")?)?))
        });
        Self {
            wait: wait
                .filter(|wait| wait.is_finite())
                .map(|wait| wait.max(0.0)),
            requests: left("requests"),
            tokens: left("tokens"),
        }
    }

    /// For how long the end point wants to be left alone, where a request takes `tokens`.
    pub(crate) fn pause(&self, tokens: f64) -> f64 {
        let short = |left: Option<(f64, f64)>, needed: f64| {
            left.filter(|(left, _)| *left < needed)
                .map_or(0.0, |(_, reset)| reset)
        };
        let wait = self.wait.unwrap_or(0.0);
        wait.max(short(self.requests, 1.0))
            .max(short(self.tokens, tokens))
    }
}

/// "6m0s", "20ms", "1.5s", or plain seconds.
fn span(text: &str) -> Option<f64> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Some(seconds).filter(|s| s.is_finite());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    Some(seconds)
}

/// Seconds of "Sun, 06 Nov 1994 08:49:37 GMT" since the start of 1970 (RFC 9110, 5.6.7).
fn date(text: &str) -> Option<f64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: i64 = parts.next()?.parse().ok()?;
    let month = i64::try_from(MONTHS.find(parts.next()?)?).ok()? / 3 + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(str::parse::<i64>);
    let mut next = || clock.next()?.ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    // Days of the Gregorian calendar, with March as the first month (Hinnant's formula).
    let year = if month <= 2 { year - 1 } else { year };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_dates_are_read() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(span(text), expected, "{text}");
        check("6m0s", Some(360.0));
        check("20ms", Some(0.02));
        check("1h2m3.5s", Some(3723.5));
        check("7", Some(7.0));
        check("soon", None);
        check("5x", None);
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777.0));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0.0));
        assert_eq!(date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000.0));
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn headers_say_how_long_to_wait() {
        let check = |pairs: &[(&'static str, &str)], expected: f64| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(*name, value.parse().unwrap());
            }
            assert!(
                (Headers::read(&map).pause(500.0) - expected).abs() < 1e-9,
                "{pairs:?}"
            );
        };
        check(&[], 0.0);
        check(&[("retry-after", "3")], 3.0);
        check(&[("retry-after", "3"), ("retry-after-ms", "250")], 0.25);
        check(
            &[
                ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"),
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ],
            30.0,
        );
        check(&[("retry-after", "NaN")], 0.0);
        check(
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "2s"),
            ],
            2.0,
        );
        check(
            &[
                ("x-ratelimit-remaining-requests", "9"),
                ("x-ratelimit-reset-requests", "2s"),
            ],
            0.0,
        );
        check(
            &[
                ("x-ratelimit-remaining-tokens", "499"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            360.0,
        );
    }

    #[test]
    fn a_bucket_gives_no_more_than_its_rate() {
        let mut bucket = Bucket::per_minute(600.0, 0.0);
        let (mut now, mut sent) = (0.0, 0);
        while now < 60.0 {
            let wait = bucket.wait(1.0, now);
            if wait > 0.0 {
                now += wait + 1e-9;
            } else {
                bucket.take(1.0);
                sent += 1;
            }
        }
        assert!((600..=611).contains(&sent), "{sent}");
        // One request may be larger than a second's worth.
        let mut bucket = Bucket::per_minute(600.0, 0.0);
        assert!(bucket.wait(500.0, 0.0).abs() < 1e-9);
        bucket.take(500.0);
        assert!((bucket.wait(500.0, 0.0) - 50.0).abs() < 1e-6);
    }
}
