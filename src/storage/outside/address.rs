//! To which addresses a connection may go.
//!
//! A snapshot written by a stranger may name any host, and a name may lead to any address: to this machine, to its
//! neighbours, to the service that hands out a machine's credentials. So names are resolved here, at the moment of
//! connecting, and addresses that are not public are left out unless the reader said otherwise for the place.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Unanswered;

/// Why an address is not public; `None` for public addresses.
fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => not_public_v4(v4),
        IpAddr::V6(v6) => not_public_v6(v6),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some("an address of this machine"),
        (169, 254, _) => Some("a link-local address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (100, 64..=127, _) => Some("an address shared inside a provider's network"),
        (0, ..) | (192, 0, 0 | 2) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => Some("a reserved address"),
        (224.., ..) => Some("a multicast or reserved address"),
        _ => None,
    }
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, fourth, .., high, low] = address.segments();
    let embedded = |high: u16, low: u16| not_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    if let Some(v4) = address.to_ipv4_mapped() {
        return not_public_v4(v4);
    }
    match (first, second, third, fourth) {
        _ if address.is_loopback() => Some("an address of this machine"),
        (0xfe80..=0xfebf, ..) => Some("a link-local address"),
        // The second prefix is for IPv4 addresses behind an operator's own translator (RFC 8215).
        (0xfc00..=0xfdff | 0xfec0..=0xfeff, ..) | (0x64, 0xff9b, 1.., _) => Some("a private address"),
        (0xff00.., ..) => Some("a multicast address"),
        // IPv4 addresses behind the usual translator (RFC 6052), and in a 6to4 tunnel (RFC 3056).
        (0x64, 0xff9b, 0, 0) => embedded(high, low),
        (0x2002, high, low, _) => embedded(high, low),
        (0x2001, 0 | 0xdb8, ..) | (0, ..) | (0x100, 0, 0, 0) | (0x64, 0xff9b, ..) => Some("a reserved address"),
        _ => None,
    }
}

/// Refuses a server that is named by an address that is not public.
pub(super) fn require_public(named: Option<IpAddr>) -> Result<(), Unanswered> {
    match named.filter(|address| not_public(*address).is_some()) {
        Some(address) => Err(Unanswered::Forbidden(forbidden(&address.to_string(), address))),
        None => Ok(()),
    }
}

/// The refusal among the causes of an error, if that is what it came from.
pub(in crate::storage) fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<Unanswered> {
    let mut cause = Some(error);
    while let Some(next) = cause {
        if let Some(Forbidden(why)) = next.downcast_ref() {
            return Some(Unanswered::Forbidden(why.clone()));
        }
        cause = next.source();
    }
    None
}

/// A host name of which no address may be connected to.
#[derive(Debug)]
struct Forbidden(String);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Forbidden {}

/// Resolves names as the system does, and leaves out what is not public.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            public(name.as_str(), all).map_err(Into::into)
        })
    }
}

fn public(name: &str, all: Vec<SocketAddr>) -> Result<Addrs, Forbidden> {
    let (public, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| not_public(address.ip()).is_none());
    match other.first().map(SocketAddr::ip).filter(|_| public.is_empty()) {
        Some(address) => Err(Forbidden(forbidden(name, address))),
        None => Ok(Box::new(public.into_iter())),
    }
}

/// The message about a host that may not be connected to.
fn forbidden(name: &str, address: IpAddr) -> String {
    let why = not_public(address).unwrap_or("no public address");
    if name == address.to_string() { format!("{name} is {why}") } else { format!("{name} leads to {address}, {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_everybody_may_reach_is_public() {
        for address in [
            "127.0.0.1",
            "127.8.9.10",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "::127.0.0.1",
        ] {
            assert!(not_public(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert_eq!(not_public(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn a_name_keeps_its_public_addresses_and_fails_without_any() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let kept: Vec<_> = public("h", vec![at("10.0.0.1"), at("8.8.8.8")]).unwrap().collect();
        assert_eq!(kept, [at("8.8.8.8")]);
        let refused = public("h", vec![at("169.254.169.254")]).err().unwrap();
        assert_eq!(refused.0, "h leads to 169.254.169.254, a link-local address");
    }
}
