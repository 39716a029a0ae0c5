//! Documents that name code are held to it.

#[cfg(test)]
mod tests {
    use crate::build::root;

    /// Checks that every row of the tables of a page names a test that exists, in its last cell: the file and
    /// the function. Returns how many there are.
    fn check_rows(page: &str) -> usize {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let is_rule = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("| ---"));
        let rows = (0..lines.len())
            .filter(|at| lines[*at].starts_with('|') && !is_rule(*at) && !is_rule(at + 1))
            .map(|at| lines[at]);
        rows.map(|row| check_row(page, row)).count()
    }

    fn check_row(page: &str, row: &str) {
        let test = row.rsplit('|').nth(1).unwrap_or_default();
        let mut names = test.split('`').skip(1).step_by(2);
        let (Some(file), Some(name)) = (names.next(), names.next()) else {
            panic!("{page}: no file and test in {row:?}");
        };
        let text = std::fs::read_to_string(root().join(file))
            .unwrap_or_else(|error| panic!("{page}: {file}: {error}"));
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let named = [format!("fn {name}("), format!("async fn {name}(")];
        let is_test = lines.iter().enumerate().any(|(at, line)| {
            let mut above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            named.iter().any(|named| line.starts_with(named.as_str()))
                && above
                    .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        });
        assert!(is_test, "{page}: {file} has no test {name}");
    }

    #[test]
    fn the_tests_of_bad_input_are_there() {
        let rows = check_rows("docs/bad-input.md");
        assert!(rows > 150, "only {rows} rows were read");
    }

    #[test]
    fn the_tests_of_known_failures_are_there() {
        let rows = check_rows("docs/failures.md");
        assert!(rows > 120, "only {rows} rows were read");
    }
}
