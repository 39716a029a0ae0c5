//! How hardware names itself, in one spelling for all sources.

/// 16 bytes as `8-4-4-4-12` hexadecimal digits; `None` for all zeros, which names nothing.
pub(crate) fn uuid(bytes: [u8; 16]) -> Option<String> {
    if bytes == [0; 16] {
        return None;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_of_zeros_names_nothing() {
        assert_eq!(uuid([0; 16]), None);
        let bytes = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(uuid(bytes).as_deref(), Some("00010203-0405-0607-0809-0a0b0c0d0e0f"));
    }
}
