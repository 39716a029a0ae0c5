//! Paths with their query, escaped.

use std::fmt::Write;

/// The path and query of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    text: String,
    has_query: bool,
}

impl Query {
    /// `/api/v1/` and these parts, each escaped except for its slashes.
    pub(crate) fn new(parts: &[&str]) -> Self {
        let mut text = String::from("/api/v1");
        for part in parts {
            text.push('/');
            escape(&mut text, part, true);
        }
        Self { text, has_query: false }
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        escape(&mut self.text, name, false);
        self.text.push('=');
        escape(&mut self.text, &value.to_string(), false);
        self
    }

    /// Adds a parameter when there is a value.
    pub(crate) fn with_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Query {
    fn from(path: &str) -> Self {
        Self::new(&[path])
    }
}

fn escape(into: &mut String, text: &str, slashes: bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || slashes && byte == b'/' {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_part() {
        let path = Query::new(&["tenants", "lab/vision"]).with("a&b", "c d").with("e", 1);
        assert_eq!(path.as_str(), "/api/v1/tenants/lab/vision?a%26b=c%20d&e=1");
        let path = Query::new(&["users", "a@b$"]).with_some("x", None::<u32>);
        assert_eq!(path.as_str(), "/api/v1/users/a%40b%24");
        assert_eq!(Query::from("queue").as_str(), "/api/v1/queue");
    }
}
