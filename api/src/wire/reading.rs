//! The protobuf wire itself: tags, varints and length-prefixed bytes, with every length checked.

use super::protobuf::ProtobufError;

/// A field's content as the wire delimits it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Content::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::Malformed("a number where bytes belong")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtobufError::Malformed("a string that is not UTF-8"))
    }

    pub(super) fn number(self) -> Result<u64, ProtobufError> {
        match self {
            Content::Varint(number) | Content::Fixed64(number) => Ok(number),
            Content::Fixed32(number) => Ok(u64::from(number)),
            Content::Bytes(_) => Err(ProtobufError::Malformed("bytes where a number belongs")),
        }
    }
}

/// The fields of one message, in wire order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Content<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Content<'a>), ProtobufError> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or(ProtobufError::Malformed("a field number out of range"))?;
        let content = match tag & 7 {
            0 => Content::Varint(varint(&mut self.rest)?),
            1 => Content::Fixed64(u64::from_le_bytes(self.take_array()?)),
            2 => {
                let length = varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.take_array()?)),
            _ => return Err(ProtobufError::Malformed("an unknown wire type")),
        };
        Ok((number, content))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Reads one varint off the front.
pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut value = 0u64;
    for (at, byte) in rest.iter().enumerate().take(10) {
        // The tenth byte holds the last bit of 64.
        if at == 9 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Ok(value);
        }
    }
    Err(if rest.len() < 10 {
        ProtobufError::Truncated
    } else {
        ProtobufError::Malformed("a varint longer than 64 bits")
    })
}
