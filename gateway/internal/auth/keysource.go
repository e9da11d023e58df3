package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Times of key sources.
const (
	fileEvery = 2 * time.Second // a stat; the file is read when it has changed
	urlEvery  = 5 * time.Minute
	urlAtMost = 30 * time.Second
	urlLimit  = 10 * time.Second // of one fetch
)

// NewKeySource reads keys from a file, or from an https URL (http for loopback
// addresses only: whoever can change the answer can sign tokens).
func NewKeySource(from string) (KeySource, error) {
	if !strings.Contains(from, "://") {
		return fileSource(from), nil
	}
	u, err := url.Parse(from)
	switch {
	case err != nil:
		return KeySource{}, fmt.Errorf("%q is not a URL: %w", from, err)
	case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && loopbackHost(u.Host):
		return urlSource(u, &http.Client{Timeout: urlLimit, Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: urlLimit}).DialContext,
			Proxy:               http.ProxyFromEnvironment,
			TLSHandshakeTimeout: urlLimit,
			DisableKeepAlives:   true, // one request in minutes
		}, CheckRedirect: safeRedirect}), nil
	}
	return KeySource{}, fmt.Errorf("%q: keys are read from a file or over https", from)
}

// safeRedirect keeps a fetch that began over https from going on without.
func safeRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("more than 3 redirects")
	}
	if r.URL.Scheme != "https" && via[0].URL.Scheme == "https" {
		return errors.New("redirected from https to " + r.URL.Scheme)
	}
	return nil
}

func fileSource(path string) KeySource {
	var last os.FileInfo // only Read uses it, one call at a time
	return KeySource{Every: fileEvery, AtMost: fileEvery, Read: func(context.Context) ([]byte, error) {
		info, err := os.Stat(path)
		if err != nil {
			last = nil
			return nil, err
		}
		if last != nil && os.SameFile(last, info) && last.Size() == info.Size() && last.ModTime().Equal(info.ModTime()) {
			return nil, nil
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		raw, err := io.ReadAll(io.LimitReader(f, maxKeySetBytes+1))
		if err != nil {
			return nil, err
		}
		if _, err := parseKeySet(raw); err != nil { // read again at the next look
			last = nil
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		last = info
		return raw, nil
	}}
}

func urlSource(u *url.URL, client *http.Client) KeySource {
	return KeySource{Every: urlEvery, AtMost: urlAtMost, Read: func(ctx context.Context) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "application/jwk-set+json, application/json")
		res, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %s", u.Redacted(), res.Status)
		}
		return io.ReadAll(io.LimitReader(res.Body, maxKeySetBytes+1))
	}}
}
