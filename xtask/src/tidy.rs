//! Documents that name code are held to it.

#[cfg(test)]
mod tests {
    use crate::build::root;

    /// Every row of the table of bad input names a test that exists.
    #[test]
    fn the_tests_of_bad_input_are_there() {
        let page = std::fs::read_to_string(root().join("docs/bad-input.md")).unwrap();
        let mut rows = 0;
        for row in page.lines().filter(|line| line.starts_with("| ") && line.contains("crates/")) {
            let test = row.rsplit('|').nth(1).unwrap_or_default();
            let mut names = test.split('`').skip(1).step_by(2);
            let (Some(file), Some(name)) = (names.next(), names.next()) else {
                panic!("no file and test in {row:?}");
            };
            let text = std::fs::read_to_string(root().join(file))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.contains(&format!("fn {name}(")), "{file} has no {name}");
            rows += 1;
        }
        assert!(rows > 25, "only {rows} rows were read");
    }
}
