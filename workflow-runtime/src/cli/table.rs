//! Tables of text: aligned columns, without borders.

use crate::steering::text::safe;

/// A cell: its text, and the colour that it has at a terminal.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub text: String,
    pub paint: Paint,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Paint {
    #[default]
    Plain,
    Good,
    Bad,
    Busy,
    Quiet,
    Bold,
}

impl Paint {
    /// The text in this colour, if colours are on.
    pub fn on(self, text: &str, color: bool) -> String {
        let code = match self {
            Paint::Plain => return text.to_owned(),
            _ if !color => return text.to_owned(),
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Busy => "36",
            Paint::Quiet => "2",
            Paint::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, paint: Paint::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

/// How a table is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Columns are shortened so that a line fits; `None`: nothing is shortened.
    pub width: Option<usize>,
    pub color: bool,
    /// Whether control characters are written as they are.
    pub raw: bool,
}

const GAP: &str = "  ";
const COLUMN_WIDTH_MIN: usize = 8;

/// The lines of a table. Cells that are empty are shown as a dash.
pub(super) fn lines(headers: &[&str], rows: &[Vec<Cell>], style: Style) -> Vec<String> {
    let shown = |cell: &Cell| match &*cell.text {
        "" => "–".to_owned(),
        text if style.raw => text.to_owned(),
        text => safe(text).into_owned(),
    };
    let mut texts: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let mut widths: Vec<usize> = headers.iter().map(|header| header.chars().count()).collect();
    for row in &texts {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    if let Some(width) = style.width {
        shrink(&mut widths, width);
        for (text, width) in texts.iter_mut().flat_map(|row| row.iter_mut().zip(&widths)) {
            *text = cut(text, *width);
        }
    }
    let line = |texts: Vec<&str>, paint: &dyn Fn(usize) -> Paint| {
        let last = texts.len().saturating_sub(1);
        let cells = texts.iter().zip(&widths).enumerate().map(|(at, (text, width))| {
            let pad = if at == last { 0 } else { width.saturating_sub(text.chars().count()) };
            format!("{}{}", paint(at).on(text, style.color), " ".repeat(pad))
        });
        cells.collect::<Vec<_>>().join(GAP)
    };
    let header = line(headers.to_vec(), &|_| Paint::Bold);
    let body = rows.iter().zip(&texts).map(|(row, texts)| {
        line(texts.iter().map(String::as_str).collect(), &|at| row.get(at).map_or(Paint::Plain, |cell| cell.paint))
    });
    std::iter::once(header).chain(body).collect()
}

/// Makes the widest columns narrower until a line fits.
fn shrink(widths: &mut [usize], width: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        match widths.iter_mut().max() {
            Some(widest) if *widest > COLUMN_WIDTH_MIN => *widest -= 1,
            _ => return,
        }
    }
}

fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width.saturating_sub(1)) {
        Some((end, _)) if text.chars().count() > width => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: Option<usize>) -> String {
        let rows = [vec!["a".into(), "x\u{1b}[2J".into()], vec!["order-1".into(), "".into()]];
        lines(&["RUN", "ERROR"], &rows, Style { width, color: false, raw: false }).join("\n")
    }

    #[test]
    fn columns_are_aligned_and_control_characters_inert() {
        assert_eq!(drawn(None), "RUN      ERROR\na        x\\u{1b}[2J\norder-1  –");
    }

    #[test]
    fn a_line_is_shortened_to_the_terminal() {
        assert_eq!(drawn(Some(17)), "RUN      ERROR\na        x\\u{1b}…\norder-1  –");
    }
}
