//! JSON, as far as a report needs it (RFC 8259): written, never read.

use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// Not known, or not tried.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Words.
    Text(String),
    /// Values of one kind.
    List(Vec<Json>),
    /// Values by name, in the order in which they are shown.
    Object(Vec<(&'static str, Json)>),
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::Number(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<std::time::Duration> for Json {
    /// In milliseconds.
    fn from(value: std::time::Duration) -> Self {
        Self::Number(i64::try_from(value.as_millis()).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Json {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, depth: usize| write!(f, "\n{:1$}", "", 2 * depth);
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(value) => quote(f, value),
            Self::List(values) if values.is_empty() => f.write_str("[]"),
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    line(f, depth + 1)?;
                    value.write(f, depth + 1)?;
                }
                line(f, depth)?;
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    line(f, depth + 1)?;
                    quote(f, name)?;
                    f.write_str(": ")?;
                    value.write(f, depth + 1)?;
                }
                line(f, depth)?;
                f.write_str("}")
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_rfc_has_them() {
        let value = Json::Object(vec![
            ("a", vec!["x\"\\\n\u{1}ü"].into()),
            ("b", Json::List(Vec::new())),
            ("c", None::<bool>.into()),
            (
                "d",
                Json::Object(vec![("e", (-5_i64).into()), ("f", true.into())]),
            ),
        ]);
        assert_eq!(
            value.to_string(),
            "{\n  \"a\": [\n    \"x\\\"\\\\\\u000a\\u0001ü\"\n  ],\n  \"b\": [],\n  \"c\": null,\n  \
             \"d\": {\n    \"e\": -5,\n    \"f\": true\n  }\n}"
        );
    }
}
