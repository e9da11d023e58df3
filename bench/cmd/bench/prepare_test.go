package main

import "testing"

func TestKernelIsShortened(t *testing.T) {
	for full, want := range map[string]string{
		"Linux 6.18.3-generic": "Linux 6.18", "Linux 6.18": "Linux 6.18", "Linux 6.1.0-18-amd64": "Linux 6.1", "unknown": "unknown",
	} {
		if got := kernel(full); got != want {
			t.Errorf("kernel(%q) = %q, want %q", full, got, want)
		}
	}
}

func TestGatewayVersionNamesCaddys(t *testing.T) {
	for said, want := range map[string]string{"0.1.0-dev v2.11.9 h1:abc=": "0.1.0-dev with Caddy v2.11.9", "unknown": "unknown"} {
		if got := gatewayVersion(said); got != want {
			t.Errorf("gatewayVersion(%q) = %q, want %q", said, got, want)
		}
	}
}
