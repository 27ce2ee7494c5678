//! What Kubernetes calls IntOrString: a number, or a percentage of a whole.

use serde_json::Value;

/// The number, or the percentage of the whole, rounded as asked. What is neither counts as nothing.
pub(super) fn scaled(value: &Value, whole: i64, up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number.max(0);
    }
    let percent =
        value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    let Some(percent) = percent.filter(|p| *p >= 0) else { return 0 };
    let hundredfold = percent.saturating_mul(whole.max(0));
    if up { hundredfold.saturating_add(99) / 100 } else { hundredfold / 100 }
}
