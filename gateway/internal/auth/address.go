package auth

import (
	"net"
	"net/netip"
)

// AddressKey is what limits per client address count by: the address without its port;
// of an IPv6 address the /64, which one host owns as a whole. What is no address is its
// own key.
func AddressKey(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
