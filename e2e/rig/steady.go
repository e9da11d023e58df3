package rig

import (
	"errors"
	"io"
	"net/http"
	"syscall"
)

// Steady is a client for tests that change the config: the web server closes idle
// connections then, and may lose one that is made while it changes its listener
// (TestConnectionsLostByAPlainSite of e2e/reload). Such a request is sent again.
// Process.Dial and Process.Load do the same.
func Steady() *http.Client {
	return &http.Client{Transport: steady{&http.Transport{DisableKeepAlives: true}}}
}

const steadyTries = 10

// Lost tells a connection that ended without an answer from other failures.
func Lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

type steady struct{ *http.Transport }

func (s steady) RoundTrip(r *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := s.Transport.RoundTrip(r)
		if !Lost(err) || try == steadyTries || r.Body != nil && r.GetBody == nil {
			return resp, err
		}
		r = r.Clone(r.Context())
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}
