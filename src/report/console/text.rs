//! Lines, rows and wrapped text of a terminal.

use std::fmt::Write as _;

/// Width of the names at the left.
pub(super) const LABEL: usize = 26;

/// Width of an endpoint's column.
pub(super) const COLUMN: usize = 37;

/// Widest line; longer texts are wrapped.
pub(crate) const WIDTH: usize = 100;

/// Blanks between the columns of a table.
const GAP: usize = 2;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub bool);

impl Paint {
    pub(crate) fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn unsure(self, text: &str) -> String {
        self.with("33", text)
    }
}

pub(crate) fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end());
}

pub(super) fn title(out: &mut String, label: &str, cells: &[String], paint: Paint) {
    let mut text = paint.bold(&format!("{label:<LABEL$}"));
    for cell in cells {
        text.push_str(&paint.dim(&format!("{cell:>COLUMN$}")));
    }
    line(out, &text);
}

pub(super) fn row(out: &mut String, label: &str, cells: &[String]) {
    row_painted(out, label, cells, str::to_owned);
}

/// Cells longer than their column go on in the next line.
pub(super) fn row_painted(
    out: &mut String,
    label: &str,
    cells: &[String],
    paint: impl Fn(&str) -> String,
) {
    let wrapped: Vec<Vec<String>> = cells.iter().map(|cell| wrap_cell(cell)).collect();
    let lines = wrapped.iter().map(Vec::len).max().unwrap_or(0).max(1);
    for n in 0..lines {
        let mut text = if n == 0 {
            format!("  {label:<width$}", width = LABEL - 2)
        } else {
            " ".repeat(LABEL)
        };
        for cell in &wrapped {
            let part = cell.get(n).map_or("", String::as_str);
            text.push_str(&paint(&format!("{part:>COLUMN$}")));
        }
        line(out, &text);
    }
}

fn wrap_cell(cell: &str) -> Vec<String> {
    // A row of numbers is aligned by its own blanks.
    if cell.len() <= COLUMN {
        vec![cell.to_owned()]
    } else {
        wrap(cell, COLUMN - 2)
    }
}

pub(super) fn item(out: &mut String, text: &str) {
    for (n, part) in wrap(text, WIDTH - 4).into_iter().enumerate() {
        line(out, &format!("  {} {part}", if n == 0 { "-" } else { " " }));
    }
}

/// A table as wide as it needs to be: words at the left, numbers at the right. Words that leave no room
/// stand on a line of their own.
pub(super) fn table(
    out: &mut String,
    name: &str,
    heads: &[&str],
    rows: &[Vec<String>],
    paint: Paint,
) {
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(n, head)| {
            let cells = rows.iter().map(|row| length(&row[n + 1]));
            cells.fold(length(head), usize::max)
        })
        .collect();
    let numbers: usize = widths.iter().map(|width| width + GAP).sum();
    let words = rows.iter().map(|row| length(&row[0]) + 2);
    let words = words.fold(length(name), usize::max);
    let words = words.min(WIDTH.saturating_sub(numbers)).max(length(name));
    let cells = |cells: &mut dyn Iterator<Item = &str>| {
        let aligned = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:>width$}", width = width + GAP));
        aligned.collect::<String>()
    };
    let head = cells(&mut heads.iter().copied());
    line(
        out,
        &format!(
            "{}{}",
            paint.bold(&format!("{name:<words$}")),
            paint.dim(&head)
        ),
    );
    for row in rows {
        let mut first = format!("  {}", row[0]);
        if length(&first) > words {
            line(out, &first);
            first.clear();
        }
        let rest = cells(&mut row[1..].iter().map(String::as_str));
        line(out, &format!("{first:<words$}{rest}"));
    }
}

/// Breaks at blanks; a word longer than the width stays whole.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
