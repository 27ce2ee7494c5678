//! Values whose message is a scalar in JSON: times, numbers with alternatives.

use serde_json::Value;

use super::protobuf::ProtobufError;
use super::reading::{Content, fields};

/// The last occurrence of a field in a message.
pub(super) fn only<'a>(message: Content<'a>, number: u32) -> Result<Option<Content<'a>>, ProtobufError> {
    let mut found = None;
    for field in fields(message.bytes()?) {
        let (at, content) = field?;
        if at == number {
            found = Some(content);
        }
    }
    Ok(found)
}

pub(super) fn double(content: Content<'_>) -> Result<Value, ProtobufError> {
    let Content::Fixed64(bits) = content else {
        return Err(ProtobufError::Malformed("a double of another size"));
    };
    let number = f64::from_bits(bits);
    // Whole numbers print without a fraction, as in the JSON of the same client.
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Ok((number as i64).into());
    }
    serde_json::Number::from_f64(number)
        .map(Value::Number)
        .ok_or(ProtobufError::Malformed("a double that JSON cannot say"))
}

/// An empty message is the zero time, which JSON says as null.
pub(super) fn time(content: Content<'_>, format: fn(i64, u32) -> String) -> Result<Value, ProtobufError> {
    if content.bytes()?.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = only(content, 1)?.map_or(Ok(0), Content::number)? as i64;
    let nanos = only(content, 2)?.map_or(Ok(0), Content::number)? as i32;
    Ok(format(seconds, u32::try_from(nanos).unwrap_or(0)).into())
}

pub(super) fn int_or_string(content: Content<'_>) -> Result<Value, ProtobufError> {
    let kind = only(content, 1)?.map_or(Ok(0), Content::number)?;
    match kind {
        0 => Ok((only(content, 2)?.map_or(Ok(0), Content::number)? as i32).into()),
        1 => Ok(only(content, 3)?.map_or(Ok(""), Content::text)?.into()),
        _ => Err(ProtobufError::Malformed("an int-or-string that is neither")),
    }
}
