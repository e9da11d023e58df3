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
