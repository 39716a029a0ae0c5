//! Tables of plain columns: no lines to draw, easy to cut with `awk`.

use super::Paint;
use std::fmt::Write;

/// Between two columns.
const GAP: &str = "  ";

/// A table under one heading.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    heading: Vec<Column>,
    rows: Vec<Vec<String>>,
    empty: &'static str,
}

#[derive(Debug, Clone)]
struct Column {
    title: &'static str,
    right: bool,
}

impl Table {
    /// A table with these columns; one whose title begins with `>` is a column of numbers, set to
    /// the right. `empty` is said instead of a table without rows.
    pub(crate) fn new(titles: &[&'static str], empty: &'static str) -> Self {
        let heading = titles.iter().map(|title| Column {
            title: title.strip_prefix('>').unwrap_or(title),
            right: title.starts_with('>'),
        });
        Self { heading: heading.collect(), rows: Vec::new(), empty }
    }

    /// Adds a row; empty cells become `-`, so that every column can be found by its number.
    pub(crate) fn row(
        &mut self,
        cells: impl IntoIterator<Item = String, IntoIter: ExactSizeIterator>,
    ) {
        let cells = cells.into_iter();
        assert_eq!(cells.len(), self.heading.len(), "a row has as many cells as the heading");
        let clean = cells.map(|cell| match clean(&cell) {
            cell if cell.is_empty() => "-".to_owned(),
            cell => cell,
        });
        self.rows.push(clean.collect());
    }

    /// The text; the last column is cut where the terminal ends.
    pub(crate) fn render(&self, paint: Paint, width_max: Option<usize>) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", paint.dim(self.empty));
        }
        let widths: Vec<usize> = (0..self.heading.len()).map(|at| self.width(at)).collect();
        let titles: Vec<String> = self.heading.iter().map(|c| c.title.to_owned()).collect();
        let mut text = String::new();
        let heading = self.line(&titles, &widths, width_max);
        let _ = writeln!(text, "{}", paint.bold(&heading));
        for row in &self.rows {
            let line = self.line(row, &widths, width_max);
            text.push_str(&self.coloured(&line, row, &widths, paint));
            text.push('\n');
        }
        text
    }

    /// The line with its state in colour, unless the terminal ends before it.
    fn coloured(&self, line: &str, row: &[String], widths: &[usize], paint: Paint) -> String {
        let at = self.heading.iter().position(|c| ["STATE", "HEALTH"].contains(&c.title));
        let Some(at) = at else { return line.to_owned() };
        let before: usize = widths[..at].iter().map(|width| width + GAP.len()).sum();
        let byte = |chars: usize| line.char_indices().nth(chars).map_or(line.len(), |(at, _)| at);
        let (start, end) = (byte(before), byte(before + row[at].chars().count()));
        if line[start..end] != row[at] {
            return line.to_owned();
        }
        format!("{}{}{}", &line[..start], paint.state(&row[at]), &line[end..])
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[at].chars().count());
        cells.chain([self.heading[at].title.len()]).max().unwrap_or(0)
    }

    fn line(&self, cells: &[String], widths: &[usize], width_max: Option<usize>) -> String {
        let last = cells.len() - 1;
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[at].saturating_sub(cell.chars().count()));
            match (self.heading[at].right, at == last) {
                (true, _) => line.extend([pad.as_str(), cell]),
                (false, false) => line.extend([cell, pad.as_str()]),
                (false, true) => line.push_str(cell),
            }
            if at != last {
                line.push_str(GAP);
            }
        }
        cut(&line, width_max)
    }
}

/// Control characters of names and reasons never reach the terminal.
fn clean(cell: &str) -> String {
    crate::show::one_line(cell).trim().to_owned()
}

fn cut(line: &str, width_max: Option<usize>) -> String {
    let Some(width) = width_max.filter(|width| *width > 1 && line.chars().count() > *width) else {
        return line.to_owned();
    };
    line.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["JOB", ">PLACE", "WHY"], "nothing waits");
        table.row(["12".into(), "1".into(), "closest is gpu0, which lacks 1 GiB".into()]);
        table.row(["7".into(), "100".into(), String::new()]);
        table
    }

    #[test]
    fn columns_line_up_and_empty_cells_are_dashes() {
        assert_eq!(
            table().render(Paint(false), None),
            "JOB  PLACE  WHY\n\
             12       1  closest is gpu0, which lacks 1 GiB\n\
             7      100  -\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_end() {
        let text = table().render(Paint(false), Some(20));
        assert!(text.contains("12       1  closest…\n"), "{text}");
    }

    #[test]
    fn states_are_coloured_where_they_stand() {
        let mut table = Table::new(&["NAME", "STATE", "WHY"], "");
        table.row(["größe".into(), "failed (1)".into(), String::new()]);
        let check = |width, expect: &str| {
            let text = table.render(Paint(true), width);
            assert_eq!(text.lines().nth(1), Some(expect));
        };
        check(None, "größe  \x1b[31mfailed (1)\x1b[0m  -");
        check(Some(12), "größe  fail…");
    }

    #[test]
    fn an_empty_table_says_so() {
        let table = Table::new(&["A"], "nothing waits");
        assert_eq!(table.render(Paint(false), None), "nothing waits\n");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let mut table = Table::new(&["A"], "");
        table.row(["x\x1b[2J\ny".into()]);
        assert_eq!(table.render(Paint(false), None), "A\nx [2J y\n");
    }
}
