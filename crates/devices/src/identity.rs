//! How hardware names itself: bus addresses and ids, in one spelling for all sources.

use polder_model::Bytes;

/// What allocations on a discrete device are rounded up to: the smallest page with which
/// NVIDIA's and AMD's drivers map device memory. Their larger blocks (2 MiB) are shared between
/// small buffers, so charging a block for each would bill memory that is not used; what the
/// driver holds beyond the sum is reconciled from its own figures.
pub(crate) const DEVICE_GRANULARITY: Bytes = Bytes(64 << 10);

/// What allocations on a CPU device are rounded up to: the host's page.
pub(crate) const HOST_GRANULARITY: Bytes = Bytes(4 << 10);

/// `0000:3b:00.0`.
pub(crate) fn pci_address(domain: u32, bus: u32, device: u32, function: u32) -> String {
    format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
}

/// Any spelling of a PCI address (`00000000:3B:00.0`, `3b:00.0`) as the kernel spells it.
pub(crate) fn parse_pci_address(text: &str) -> Option<String> {
    let hex = |part: &str, length_max: usize| {
        let fits = (1..=length_max).contains(&part.len())
            && part.chars().all(|digit| digit.is_ascii_hexdigit());
        fits.then(|| u32::from_str_radix(part, 16).ok()).flatten()
    };
    let (rest, function) = text.trim().rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let (device, function) = (hex(device, 2)?, hex(function, 1)?);
    (device < 32 && function < 8).then_some(())?;
    Some(pci_address(hex(domain, 8)?, hex(bus, 2)?, device, function))
}

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
    fn every_spelling_of_an_address_becomes_the_kernels() {
        for text in ["00000000:3B:00.0", "0000:3b:00.0", "3b:00.0", " 3B:00.0\n"] {
            assert_eq!(parse_pci_address(text).as_deref(), Some("0000:3b:00.0"), "{text:?}");
        }
        assert_eq!(parse_pci_address("00010000:01:1f.7").as_deref(), Some("10000:01:1f.7"));
        for text in ["", "3b", "3b:00", "3b:20.0", "3b:00.8", "x:00.0", "+1:00.0", "3b:00.0.0"] {
            assert_eq!(parse_pci_address(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_uuid_of_zeros_names_nothing() {
        assert_eq!(uuid([0; 16]), None);
        let bytes = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(uuid(bytes).as_deref(), Some("00010203-0405-0607-0809-0a0b0c0d0e0f"));
    }
}
