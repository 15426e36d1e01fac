//! The two figures: each system's value with its interval, and the loss curve.

use super::Report;
use super::chart::{Scale, escape, points, range};
use super::words::{best_step, first_system, metric_title, number, system_title};
use crate::evaluate::baseline::OTHER_REFERENCE;
use crate::evaluate::summary::{Metric, MetricsFile};

/// Weight of the newest step in the smoothed training loss.
const SMOOTHING: f64 = 0.1;
/// More points than this would only make the file longer.
const MOST_POINTS: usize = 400;

/// One metric of each system with its 95 % interval; empty if fewer than two systems have it.
pub(super) fn intervals(metrics: &MetricsFile, name: &str) -> String {
    let rows: Vec<(&str, &Metric, f64)> = metrics
        .systems
        .iter()
        .filter_map(|system| {
            let metric = system.metrics.get(name)?;
            Some((system.system.as_str(), metric, metric.value?))
        })
        .collect();
    if rows.len() < 2 {
        return String::new();
    }
    let ends = rows.iter().flat_map(|(_, metric, value)| {
        let ends = metric
            .interval
            .map_or([*value; 2], |interval| [interval.low, interval.high]);
        ends.into_iter().chain([*value])
    });
    let bounds = range(ends, 0.1).unwrap_or((0.0, 1.0));
    let x = Scale::new(bounds, (14.0, 406.0));
    let bottom = 12.0 + 38.0 * rows.len() as f64;
    let mut svg = format!(
        r#"<svg class="chart" viewBox="0 0 420 {}" role="img" aria-label="{} of each system with its 95 % interval">"#,
        bottom + 24.0,
        escape(metric_title(name))
    );
    for (value, label) in x.ticks(5) {
        let at = x.at(value);
        svg += &format!(
            r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="6" y2="{bottom}"/><text class="tick" x="{at:.1}" y="{}" text-anchor="middle">{label}</text>"#,
            bottom + 16.0
        );
    }
    let floor = rows.iter().find(|(system, ..)| *system == OTHER_REFERENCE);
    if let Some((.., value)) = floor {
        let at = x.at(*value);
        svg += &format!(r#"<line class="floor" x1="{at:.1}" x2="{at:.1}" y1="6" y2="{bottom}"/>"#);
    }
    let first = first_system(metrics);
    for (place, (system, metric, value)) in rows.iter().enumerate() {
        let class = if Some(*system) == first {
            "system own"
        } else {
            "system"
        };
        svg += &row(
            name,
            class,
            system,
            metric,
            *value,
            &x,
            12.0 + 38.0 * place as f64,
        );
    }
    svg + "</svg>"
}

fn row(
    name: &str,
    class: &str,
    system: &str,
    metric: &Metric,
    value: f64,
    x: &Scale,
    top: f64,
) -> String {
    let (line, text) = (top + 25.0, top + 13.0);
    let mut svg = format!(
        r#"<g class="{class}"><text x="14" y="{text}">{}</text><text class="value" x="406" y="{text}" text-anchor="end">{}</text>"#,
        escape(&system_title(system)),
        number(name, value)
    );
    if let Some(interval) = metric.interval {
        let (low, high) = (x.at(interval.low), x.at(interval.high));
        svg += &format!(
            r#"<line class="whisker" x1="{low:.1}" x2="{high:.1}" y1="{line}" y2="{line}"/>"#
        );
        for end in [low, high] {
            svg += &format!(
                r#"<line class="whisker" x1="{end:.1}" x2="{end:.1}" y1="{}" y2="{}"/>"#,
                line - 4.0,
                line + 4.0
            );
        }
    }
    svg + &format!(
        r#"<circle cx="{:.1}" cy="{line}" r="4.5"/></g>"#,
        x.at(value)
    )
}

/// The training loss, raw and smoothed, and the validation losses with the best one marked.
pub(super) fn loss(report: &Report) -> String {
    let Some(last) = report.steps.last() else {
        return String::new();
    };
    let raw: Vec<(f64, f64)> = report
        .steps
        .iter()
        .filter(|step| step.loss.is_finite())
        .map(|step| (step.step as f64, step.loss))
        .collect();
    let validation: Vec<(f64, f64)> = report
        .steps
        .iter()
        .filter_map(|step| {
            Some((
                step.step as f64,
                step.validation_loss.filter(|l| l.is_finite())?,
            ))
        })
        .collect();
    let smooth = smoothed(&raw);
    let shown = smooth.iter().chain(&validation).map(|(_, loss)| *loss);
    let Some((low, high)) = range(shown, 0.5) else {
        return String::new();
    };
    let x = Scale::new((0.0, last.step as f64), (46.0, 622.0));
    let y = Scale::new((low, high), (262.0, 16.0));
    let place = |(step, loss): (f64, f64)| (x.at(step), y.at(loss));

    let mut svg = r#"<div class="scroll"><svg class="chart wide" viewBox="0 0 640 306" role="img" aria-label="Training and validation loss by step">"#.to_owned();
    for (value, label) in y.ticks(5) {
        let at = y.at(value);
        svg += &format!(
            r#"<line class="grid" x1="46" x2="622" y1="{at:.1}" y2="{at:.1}"/><text class="tick" x="40" y="{:.1}" text-anchor="end">{label}</text>"#,
            at + 4.0
        );
    }
    for (value, label) in x.ticks(6) {
        let at = x.at(value);
        svg += &format!(
            r#"<text class="tick" x="{at:.1}" y="280" text-anchor="middle">{label}</text>"#
        );
    }
    svg += r#"<text class="tick" x="334" y="300" text-anchor="middle">step</text><text class="tick" transform="translate(11 139) rotate(-90)" text-anchor="middle">loss, nats a token</text>"#;
    svg += &format!(
        r#"<polyline class="raw" points="{}"/>"#,
        points(thinned(&raw).map(place))
    );
    svg += &format!(
        r#"<polyline class="train" points="{}"/>"#,
        points(thinned(&smooth).map(place))
    );
    svg += &format!(
        r#"<polyline class="validation" points="{}"/>"#,
        points(validation.iter().copied().map(place))
    );
    for (at, height) in validation.iter().copied().map(place) {
        svg += &format!(r#"<circle class="validation" cx="{at:.1}" cy="{height:.1}" r="3.5"/>"#);
    }
    if let Some(best) = best_step(report)
        && let Some(loss) = best.validation_loss
    {
        let step = best.step;
        let (at, height) = place((step as f64, loss));
        let (anchor, side) = if at > 334.0 {
            ("end", -8.0)
        } else {
            ("start", 8.0)
        };
        svg += &format!(
            r#"<line class="best" x1="{at:.1}" x2="{at:.1}" y1="18" y2="{:.1}"/><circle class="best" cx="{at:.1}" cy="{height:.1}" r="7.5"/><text class="best" x="{:.1}" y="30" text-anchor="{anchor}">best checkpoint: {loss:.3} at step {step}</text>"#,
            height - 7.5,
            at + side
        );
    }
    svg + "</svg></div>" + LEGEND
}

const LEGEND: &str = r#"<p class="legend"><span class="key train"></span>training, smoothed over ten steps <span class="key raw"></span>each step <span class="key validation"></span>validation</p>"#;

/// An exponential moving average that starts at the first value.
fn smoothed(raw: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut mean = raw.first().map_or(0.0, |(_, loss)| *loss);
    let next = raw.iter().map(|(step, loss)| {
        mean += SMOOTHING * (loss - mean);
        (*step, mean)
    });
    next.collect()
}

/// Every k-th point and the last one, so that at most about [`MOST_POINTS`] remain.
fn thinned(all: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let every = all.len().div_ceil(MOST_POINTS).max(1);
    let last = all
        .last()
        .filter(|_| !(all.len() - 1).is_multiple_of(every));
    all.iter().step_by(every).chain(last).copied()
}
