//! Drawing in SVG: scales, ticks and escaped text.

/// Text for HTML and SVG, inside an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in HTML; white space is.
            c if c.is_control() && !c.is_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A linear map from values to places on the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Maps `from.0` to `to.0` and `from.1` to `to.1`; an empty range is widened.
    pub(super) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        let from = if from.1 > from.0 {
            from
        } else {
            (from.0 - 0.5, from.0 + 0.5)
        };
        Self { from, to }
    }

    /// The place of a value, held inside of the range.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from.0) / (self.from.1 - self.from.0)).clamp(0.0, 1.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// About `wanted` round values inside of the range, with the digits that they need.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let span = self.from.1 - self.from.0;
        let rough = span / wanted as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|k| k * power)
            .into_iter()
            .find(|s| *s >= rough);
        let step = step.unwrap_or(10.0 * power);
        #[expect(clippy::cast_sign_loss, reason = "clamped to 0..=6")]
        let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let first = (self.from.0 / step - 1e-9).ceil();
        (0..=2 * wanted)
            .map(|k| (first + k as f64) * step)
            .take_while(|value| *value <= self.from.1 + 1e-9 * span)
            .map(|value| {
                (
                    value,
                    format!("{:.digits$}", value + 0.0).replace('-', "\u{2212}"),
                )
            })
            .collect()
    }
}

/// A range that holds all values, stepped out to a multiple of `step`.
pub(super) fn range(values: impl Iterator<Item = f64>, step: f64) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    (low <= high).then(|| ((low / step).floor() * step, (high / step).ceil() * step))
}

/// Points of a polyline.
pub(super) fn points(places: impl Iterator<Item = (f64, f64)>) -> String {
    places
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |from, n| {
            let ticks = Scale::new(from, (0.0, 1.0)).ticks(n);
            ticks
                .into_iter()
                .map(|(_, label)| label)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(labels((0.0, 1.0), 5), "0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(labels((2.13, 4.87), 5), "3 4");
        assert_eq!(labels((0.0, 322.0), 5), "0 100 200 300");
        assert_eq!(
            labels((-0.1, 0.1), 4),
            "\u{2212}0.10 \u{2212}0.05 0.00 0.05 0.10"
        );
        assert_eq!(labels((3.0, 3.0), 2), "2.5 3.0 3.5");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            escape("<script>\"a\" & 'b'\u{0}"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}"
        );
    }
}
