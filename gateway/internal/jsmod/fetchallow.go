package jsmod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// Words of a fetch list that stand for themselves.
const (
	fetchPublic = "public" // every address of the public internet
	fetchNone   = "none"   // nothing
)

// fetchList is what fetch may reach. Names are compared before anything is resolved,
// addresses when a connection is made, so that no name can lead to another place
// between the check and the call; redirects and retries make connections, too.
type fetchList struct {
	text   []string
	public bool
	names  []fetchName
	nets   []fetchNet
}

type fetchName struct {
	host string // lower case; a leading dot means any name below it
	port string // "": any
}

type fetchNet struct {
	prefix netip.Prefix
	port   string
}

// CheckFetchAllow reports the first entry of a fetch list that is none.
func CheckFetchAllow(entries []string) error {
	_, err := parseFetchAllow(entries)
	return err
}

// parseFetchAllow reads host, *.host, address or network, each with an optional port,
// public and none. No entries mean no list: everything is allowed.
func parseFetchAllow(entries []string) (*fetchList, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	l := &fetchList{text: entries}
	for _, entry := range entries {
		if err := l.add(entry); err != nil {
			return nil, err
		}
	}
	if slices.Contains(entries, fetchNone) && len(entries) > 1 {
		return nil, errors.New("none stands alone: it allows nothing")
	}
	return l, nil
}

func (l *fetchList) add(entry string) error {
	switch entry {
	case fetchPublic:
		l.public = true
		return nil
	case fetchNone:
		return nil
	}
	bad := fmt.Errorf("%q is not a host such as api.example.com, *.example.com:443, 10.0.0.5 or 10.0.0.0/8, nor public or none", entry)
	host, port := entry, ""
	if p, err := netip.ParsePrefix(entry); err == nil {
		l.nets = append(l.nets, fetchNet{p.Masked(), ""})
		return nil
	}
	if ip, err := netip.ParseAddr(entry); err != nil {
		if h, p, err := net.SplitHostPort(entry); err == nil {
			host, port = h, p
			if n, err := net.LookupPort("tcp", p); err != nil || n == 0 || fmt.Sprint(n) != p {
				return bad
			}
		}
	} else {
		host = ip.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		l.nets = append(l.nets, fetchNet{netip.PrefixFrom(ip, ip.BitLen()), port})
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	rest, below := strings.CutPrefix(name, "*.")
	labels := strings.Split(rest, ".")
	if below {
		name = "." + rest
	}
	if slices.ContainsFunc(labels, func(label string) bool { return !hostLabel(label) }) {
		return bad
	}
	l.names = append(l.names, fetchName{name, port})
	return nil
}

func hostLabel(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}

// named reports whether a host is on the list by its name.
func (l *fetchList) named(host, port string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.ContainsFunc(l.names, func(n fetchName) bool {
		if n.port != "" && n.port != port {
			return false
		}
		return host == n.host || n.host[0] == '.' && strings.HasSuffix(host, n.host) && len(host) > len(n.host)
	})
}

// reaches reports whether a connection to an address may be made. A name on the list
// may lead anywhere but to where no server of that name can be: names of the operator's
// own network are the point of it.
func (l *fetchList) reaches(named bool, ip netip.Addr, port string) bool {
	ip = ip.Unmap().WithZone("")
	if named && !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsUnspecified() {
		return true
	}
	if l.public && isPublic(ip) {
		return true
	}
	return slices.ContainsFunc(l.nets, func(n fetchNet) bool {
		return (n.port == "" || n.port == port) && n.prefix.Contains(ip)
	})
}

// dial makes a connection that the list allows.
func (l *fetchList) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	named := l.named(host, port)
	if _, err := netip.ParseAddr(host); err != nil && !named && !l.public && len(l.nets) == 0 {
		return nil, l.refuse(host, port) // not even asked for: a lookup tells others, too
	}
	d := net.Dialer{ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(resolved)
		if err != nil || !l.reaches(named, at.Addr(), port) {
			return l.refuse(host, port)
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

func (l *fetchList) refuse(host, port string) error {
	return &program.Failure{Name: "TypeError", Code: "FETCH_NOT_ALLOWED", NoRetry: true, Message: fmt.Sprintf(
		"fetch: %s is not in the gateway's fetch_allow list, or leads to an address that is not (allowed: %s)",
		net.JoinHostPort(host, port), strings.Join(l.text, ", "))}
}

// special are networks that are no part of the public internet, beside those that
// netip knows, and those that carry an IPv4 address inside.
var special = func() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
		"3fff::/20", "fec0::/10", "::/96",
	} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}()

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() &&
		!slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}
