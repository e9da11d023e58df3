package jsmod

import (
	"encoding/json"
	"fmt"

	"github.com/nlnwa/whatwg-url/url"
)

// urlParts is a parsed URL as the URL class of the prelude keeps it.
type urlParts struct {
	Href     string `json:"href"`
	Protocol string `json:"protocol"`
	Username string `json:"username"`
	Password string `json:"password"`
	Host     string `json:"host"`
	Hostname string `json:"hostname"`
	Port     string `json:"port"`
	Pathname string `json:"pathname"`
	Search   string `json:"search"`
	Hash     string `json:"hash"`
	Origin   string `json:"origin"`
}

const maxURL = 1 << 20

// opURL parses ("parse", input, base) or changes one part ("set", href, part, value)
// of a URL by the rules of the WHATWG URL standard. Its answer is JSON, or nil when
// the input is no URL.
func opURL(args []any) (any, error) {
	input := argText(args, 1)
	if len(input) > maxURL {
		return nil, fmt.Errorf("URL: longer than %d bytes", maxURL)
	}
	var u *url.Url
	var err error
	switch argText(args, 0) {
	case "parse":
		if base := argText(args, 2); base != "" {
			u, err = url.ParseRef(base, input)
		} else {
			u, err = url.Parse(input)
		}
	case "set":
		if u, err = url.Parse(input); err == nil {
			setURLPart(u, argText(args, 2), argText(args, 3))
		}
	default:
		return nil, fmt.Errorf("host: no URL operation %q", argText(args, 0))
	}
	if err != nil {
		return nil, nil
	}
	b, err := json.Marshal(urlParts{
		Href: u.Href(false), Protocol: u.Protocol(), Username: u.Username(), Password: u.Password(), Host: u.Host(), Hostname: u.Hostname(),
		Port: u.Port(), Pathname: u.Pathname(), Search: u.Search(), Hash: u.Hash(), Origin: origin(u),
	})
	return string(b), err
}

func setURLPart(u *url.Url, part, value string) {
	switch part {
	case "protocol":
		u.SetProtocol(value)
	case "username":
		u.SetUsername(value)
	case "password":
		u.SetPassword(value)
	case "host":
		u.SetHost(value)
	case "hostname":
		u.SetHostname(value)
	case "port":
		u.SetPort(value)
	case "pathname":
		u.SetPathname(value)
	case "search":
		u.SetSearch(value)
	case "hash":
		u.SetHash(value)
	}
}

// origin is "null" for schemes without one.
func origin(u *url.Url) string {
	switch u.Protocol() {
	case "http:", "https:", "ws:", "wss:", "ftp:":
		return u.Protocol() + "//" + u.Host()
	}
	return "null"
}
