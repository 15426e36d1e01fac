//! Rows of cells, and the four ways to write them.

use std::fmt::Write as _;

use super::Format;
use crate::evaluate::bootstrap::Interval;

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// A name.
    Text(String),
    /// A whole number.
    Count(usize),
    /// A number with so many digits after the point.
    Number(Option<f64>, usize),
    /// A p-value.
    P(Option<f64>),
    /// An interval alone.
    Range(Option<Interval>, usize),
    /// A value with its interval.
    Estimate {
        value: Option<f64>,
        interval: Option<Interval>,
        digits: usize,
        /// How many examples it rests on, and whether people are told.
        n: Option<(usize, bool)>,
    },
}

const MISSING: &str = "-";

impl Cell {
    pub(super) fn number(value: Option<f64>, digits: usize) -> Self {
        Self::Number(value, digits)
    }

    pub(super) fn range(interval: Option<Interval>, digits: usize) -> Self {
        Self::Range(interval, digits)
    }

    pub(super) fn estimate(value: Option<f64>, interval: Option<Interval>, digits: usize) -> Self {
        Self::Estimate {
            value,
            interval,
            digits,
            n: None,
        }
    }

    pub(super) fn with_n(self, count: usize, is_shown: bool) -> Self {
        match self {
            Self::Estimate {
                value,
                interval,
                digits,
                ..
            } => Self::Estimate {
                value,
                interval,
                digits,
                n: Some((count, is_shown)),
            },
            other => other,
        }
    }

    /// For people.
    fn shown(&self) -> String {
        let range = |interval: &Interval, digits: usize| {
            format!(
                "[{}, {}]",
                rounded(interval.low, digits),
                rounded(interval.high, digits)
            )
        };
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(n) => n.to_string(),
            Self::Number(Some(value), digits) => rounded(*value, *digits),
            Self::P(Some(p)) if *p < 0.001 && *p > 0.0 => format!("{p:.0e}"),
            Self::P(Some(p)) => rounded(*p, 3),
            Self::Range(Some(interval), digits) => range(interval, *digits),
            Self::Estimate {
                value: Some(value),
                interval,
                digits,
                n,
            } => {
                let mut text = rounded(*value, *digits);
                if let Some(interval) = interval {
                    write!(text, " {}", range(interval, *digits)).expect("a String takes any text");
                }
                if let Some((n, true)) = n {
                    write!(text, " (n {n})").expect("a String takes any text");
                }
                text
            }
            Self::Number(None, _)
            | Self::P(None)
            | Self::Range(None, _)
            | Self::Estimate { .. } => MISSING.to_owned(),
        }
    }

    /// For machines: what each of the cell's columns is called after the column's name, and its
    /// value; empty where there is none.
    fn columns(&self) -> Vec<(&'static str, String)> {
        let full = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let ends = |interval: &Option<Interval>| {
            [
                (" low", full(interval.map(|i| i.low))),
                (" high", full(interval.map(|i| i.high))),
            ]
        };
        match self {
            Self::Text(text) => vec![("", text.clone())],
            Self::Count(n) => vec![("", n.to_string())],
            Self::Number(value, _) | Self::P(value) => vec![("", full(*value))],
            Self::Range(interval, _) => ends(interval).to_vec(),
            Self::Estimate {
                value, interval, n, ..
            } => {
                let mut columns = vec![("", full(*value))];
                columns.extend(ends(interval));
                columns.extend(n.map(|(n, _)| (" n", n.to_string())));
                columns
            }
        }
    }
}

/// A number without the sign of a zero.
fn rounded(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if is_zero { text.replace('-', "") } else { text }
}

/// A head, and a name and cells a row.
pub(super) struct Grid {
    head: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl Grid {
    pub(super) fn new<'a>(first: &'a str, others: impl IntoIterator<Item = &'a str>) -> Self {
        let others = others.into_iter();
        Self {
            head: std::iter::once(first)
                .chain(others)
                .map(str::to_owned)
                .collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, name: &str, cells: impl Into<Vec<Cell>>) {
        self.rows.push((name.to_owned(), cells.into()));
    }

    pub(super) fn write(&self, format: Format) -> String {
        match format {
            Format::Plain => self.plain(),
            Format::Markdown => self.markdown(),
            Format::Latex => self.latex(),
            Format::Csv => self.csv(),
        }
    }

    /// The head and all rows, as people see them.
    fn shown(&self) -> Vec<Vec<String>> {
        let rows = self.rows.iter().map(|(name, cells)| {
            let cells = cells.iter().map(Cell::shown);
            std::iter::once(name.clone()).chain(cells).collect()
        });
        std::iter::once(self.head.clone()).chain(rows).collect()
    }

    /// A column is a number's if no cell in it is a text.
    fn is_of_numbers(&self, column: usize) -> bool {
        let of_column = |cells: &[Cell]| matches!(cells.get(column - 1), Some(Cell::Text(_)));
        column > 0 && !self.rows.iter().any(|(_, cells)| of_column(cells))
    }

    fn plain(&self) -> String {
        let shown = self.shown();
        let width = |column: usize| {
            let cells = shown.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in &shown {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column > 0 { "  " } else { "" };
                let padded = if self.is_of_numbers(column) {
                    format!("{gap}{cell:>width$}")
                } else {
                    format!("{gap}{cell:<width$}")
                };
                line.push_str(&padded);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn markdown(&self) -> String {
        let escape = |cell: &String| {
            cell.replace('\\', "\\\\")
                .replace('|', "\\|")
                .replace(['\n', '\r'], " ")
        };
        let mut lines: Vec<String> = self
            .shown()
            .iter()
            .map(|row| {
                format!(
                    "| {} |",
                    row.iter().map(escape).collect::<Vec<_>>().join(" | ")
                )
            })
            .collect();
        let rule = |column| {
            if self.is_of_numbers(column) {
                "---:"
            } else {
                "---"
            }
        };
        let rules: Vec<&str> = (0..self.head.len()).map(rule).collect();
        lines.insert(1, format!("|{}|", rules.join("|")));
        lines.join("\n") + "\n"
    }

    fn latex(&self) -> String {
        let side = |column| if self.is_of_numbers(column) { 'r' } else { 'l' };
        let sides: String = (0..self.head.len()).map(side).collect();
        let mut lines = self.shown().into_iter().map(|row| {
            let cells: Vec<String> = row.iter().map(|cell| latex(cell)).collect();
            format!("{} \\\\\n", cells.join(" & "))
        });
        let head = lines.next().unwrap_or_default();
        let rows: String = lines.collect();
        format!(
            "\\begin{{tabular}}{{{sides}}}\n\\toprule\n{head}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"
        )
    }

    fn csv(&self) -> String {
        let mut head = vec![self.head[0].clone()];
        if let Some((_, cells)) = self.rows.iter().max_by_key(|(_, cells)| width(cells)) {
            for (name, cell) in self.head[1..].iter().zip(cells) {
                head.extend(cell.columns().iter().map(|(end, _)| format!("{name}{end}")));
            }
        } else {
            head.extend(self.head[1..].iter().cloned());
        }
        let rows = self.rows.iter().map(|(name, cells)| {
            let values = cells.iter().flat_map(Cell::columns).map(|(_, value)| value);
            std::iter::once(name.clone()).chain(values).collect()
        });
        let all = std::iter::once(head).chain(rows);
        all.map(|row: Vec<String>| {
            let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
            cells.join(",") + "\r\n"
        })
        .collect()
    }
}

fn width(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.columns().len()).sum()
}

/// A text for LaTeX; a minus sign becomes one.
fn latex(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_minus = c == '-'
            && matches!(before, ' ' | '[')
            && rest.peek().is_some_and(char::is_ascii_digit);
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '[' | ']' => {
                // A bracket after \\ would be read as its argument.
                write!(out, "{{{c}}}").expect("a String takes any text");
            }
            '\n' | '\r' => out.push(' '),
            _ if is_minus => out.push_str("$-$"),
            _ => out.push(c),
        }
        before = c;
    }
    out
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
