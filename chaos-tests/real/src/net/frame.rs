//! The datagrams of the switch: a VXLAN header, which names the sender, and a whole Ethernet frame.

use super::Port;

/// VXLAN's port.
pub(super) const UDP_PORT: u16 = 4789;
const HEADER: usize = 8;
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [8, 0];
const TCP: u8 = 6;
/// Where TCP keeps its checksum.
const TCP_CHECKSUM: usize = 16;

/// Who sends a frame to whom. None: it is not for one host (neighbours are known, so nothing else is needed), or no frame.
pub(super) fn route(datagram: &[u8]) -> Option<(Port, Port)> {
    let frame = datagram.get(HEADER..)?;
    let from = *datagram.get(6)?;
    let unicast = frame.len() >= ETHERNET && frame[..5] == [2, 0, 0, 0, 0];
    (unicast && from != 0).then(|| (from, frame[5]))
}

/// Readdresses it: from now on it goes to this host's interface.
pub(super) fn readdress(datagram: &mut [u8], to: Port) {
    datagram[..HEADER].copy_from_slice(&[8, 0, 0, 0, 0, 0, to, 0]);
}

/// A kernel leaves the checksum of TCP to its device, and a tunnel's far end expects it: this is the device.
pub(super) fn finish_checksum(datagram: &mut [u8]) {
    let Some(frame) = datagram.get_mut(HEADER..) else { return };
    if frame.len() < ETHERNET + 20 || frame[12..14] != IPV4 || frame[ETHERNET + 9] != TCP {
        return;
    }
    let packet = &mut frame[ETHERNET..];
    let header = usize::from(packet[0] & 15) * 4;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if header < 20 || length < header + 20 || length > packet.len() {
        return;
    }
    packet[header + TCP_CHECKSUM..header + TCP_CHECKSUM + 2].fill(0);
    let segment = (length - header) as u32;
    let sum = sum(&packet[12..20]) + u32::from(TCP) + segment + sum(&packet[header..length]);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !(folded as u16);
    packet[header + TCP_CHECKSUM..header + TCP_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The sum of big-endian words. A frame is too short to overflow it.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![8, 0, 0, 0, 0, 0, 3, 0];
        datagram.extend([2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 3, 8, 0]);
        let length = (40 + payload.len()) as u16;
        datagram.extend([0x45, 0]);
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, 3, 10, 0, 0, 9]);
        datagram.extend([0; 12]);
        datagram.extend([0x50, 0, 0, 0, 0xaa, 0xbb, 0, 0]);
        datagram.extend(payload);
        datagram
    }

    #[test]
    fn a_frame_names_its_ends() {
        let mut datagram = tcp(b"");
        assert_eq!(route(&datagram), Some((3, 9)));
        readdress(&mut datagram, 9);
        assert_eq!(datagram[6], 9);
        assert_eq!(route(&datagram[..10]), None);
        datagram[8..14].fill(0xff);
        assert_eq!(route(&datagram), None, "broadcasts are for nobody");
    }

    #[test]
    fn a_finished_checksum_sums_up_to_nothing() {
        for payload in [&b""[..], b"a", b"even", b"odd bytes"] {
            let mut datagram = tcp(payload);
            finish_checksum(&mut datagram);
            let packet = &datagram[HEADER + ETHERNET..];
            let all =
                sum(&packet[12..20]) + u32::from(TCP) + (20 + payload.len()) as u32 + sum(&packet[20..]);
            assert_eq!((all & 0xffff) + (all >> 16), 0xffff, "{payload:?}");
        }
    }
}
