//! Documents as people read them and the AWS tools take them.
//!
//! IAM reads any JSON. People look for the effect first, for whom it is about, and then for what; so the
//! fields stand in the order of the IAM user guide, and short lists in one line.

use serde_json::Value;

/// A document, or a part of one, in lines. IAM refuses characters beyond Latin-1, which prefixes may
/// have, but takes them in JSON's own spelling.
pub fn pretty(document: &Value) -> String {
    let mut text = String::new();
    write(document, 0, &mut text);
    let mut spelled = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            spelled.push(c);
        } else {
            let mut units = [0; 2];
            spelled.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    spelled
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let items: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields
                .sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
            fields
                .into_iter()
                .map(|(name, value)| (format!("{}: ", Value::from(name.as_str())), value))
                .collect()
        }
        Value::Array(items) if !is_short(value, depth) => {
            items.iter().map(|item| (String::new(), item)).collect()
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            return text.push_str(&format!("[{}]", items.join(", ")));
        }
        plain => return text.push_str(&plain.to_string()),
    };
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    let line = |depth: usize| format!("\n{:width$}", "", width = INDENT * depth);
    text.push(open);
    for (at, (name, value)) in items.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(&line(depth + 1));
        text.push_str(name);
        write(value, depth + 1, text);
    }
    text.push_str(&line(depth));
    text.push(close);
}

/// Whether a list may stand in one line: nothing in it has parts, and the line is not too long.
fn is_short(list: &Value, depth: usize) -> bool {
    let is_plain = list.as_array().is_some_and(|items| items.iter().all(|item| item.is_string()));
    is_plain && INDENT * depth + list.to_string().len() <= LINE_CHARS
}

/// The order in which the IAM user guide writes them.
const ORDER: &[&str] =
    &["Version", "Id", "Statement", "Sid", "Effect", "Principal", "Action", "Resource", "Condition"];

const INDENT: usize = 2;

/// Leaves room in 80 columns for the name of the field, and for being indented by a report.
const LINE_CHARS: usize = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_reads_as_in_the_user_guide() {
        let statement = json!({
            "Resource": ["arn:aws:s3:::a/*"], "Action": ["s3:GetObject", "s3:PutObject"], "Effect": "Allow",
            "Condition": {"StringLike": {"s3:prefix": "x"}}, "Principal": {"AWS": ["arn:1"]},
        });
        let text = r#"{
  "Effect": "Allow",
  "Principal": {
    "AWS": ["arn:1"]
  },
  "Action": ["s3:GetObject", "s3:PutObject"],
  "Resource": ["arn:aws:s3:::a/*"],
  "Condition": {
    "StringLike": {
      "s3:prefix": "x"
    }
  }
}"#;
        assert_eq!(pretty(&statement), text);
    }

    #[test]
    fn what_is_printed_is_the_document() {
        let long: Vec<String> =
            (0..9).map(|i| format!("arn:aws:s3:::bucket-{i}/\u{65e5}\u{1f600}\"\\")).collect();
        for document in [json!({"Statement": [{"Action": long}], "b": {}, "a": []}), json!([]), json!("x")] {
            let text = pretty(&document);
            assert!(text.is_ascii());
            assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(document), "{text}");
        }
    }
}
