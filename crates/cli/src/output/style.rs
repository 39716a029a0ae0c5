//! Colour, and bars made of characters.

/// Whether to colour; without it every method gives its text back as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn error(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// A state or health in the colour of what it means.
    pub(super) fn state(self, text: &str) -> String {
        let code = match text.split([' ', ',', ':']).next().unwrap_or_default() {
            "running" | "started" | "succeeded" | "healthy" | "reachable" => "32",
            "queued" | "starting" | "stopping" | "granted" | "prepared" => "33",
            "failed" | "signal" | "timed" | "not" | "lost" | "faulty" | "silent" => "31",
            _ => return text.to_owned(),
        };
        self.with(code, text)
    }

    /// One of a few colours, the same for the same number.
    pub(crate) fn numbered(self, number: usize, text: &str) -> String {
        const COLOURS: [&str; 6] = ["36", "35", "34", "33", "32", "31"];
        self.with(COLOURS[number % COLOURS.len()], text)
    }
}

/// A bar of `width` characters, one segment for each part in thousandths of the whole, and dots
/// for what is left.
pub(crate) fn bar(paint: Paint, parts: &[u32], width: usize) -> String {
    const MARKS: [char; 2] = ['#', '='];
    let mut drawn = 0;
    let mut sum = 0usize;
    let mut text = String::from("[");
    for (number, part) in parts.iter().enumerate() {
        sum = (sum + *part as usize).min(1000);
        let end = sum * width / 1000;
        let segment: String =
            std::iter::repeat_n(MARKS[number % MARKS.len()], end.saturating_sub(drawn)).collect();
        drawn = end.max(drawn);
        text.push_str(&paint.numbered(number, &segment));
    }
    text.push_str(&".".repeat(width - drawn));
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_every_part_and_never_overflow() {
        let check = |parts: &[u32], expect: &str| {
            assert_eq!(bar(Paint(false), parts, 10), expect, "{parts:?}");
        };
        check(&[], "[..........]");
        check(&[700, 300], "[#######===]");
        check(&[300], "[###.......]");
        check(&[900, 900, 900], "[#########=]");
    }

    #[test]
    fn without_colour_text_is_untouched() {
        assert_eq!(Paint(false).error("x"), "x");
        assert_eq!(Paint(true).bold("x"), "\x1b[1mx\x1b[0m");
        assert_eq!(Paint(true).state("faulty: fan"), "\x1b[31mfaulty: fan\x1b[0m");
        assert_eq!(Paint(true).state("cancelled"), "cancelled");
    }
}
