package rig

import (
	"os"
	"testing"
	"time"
)

// Prompt holds that something took no longer than its limit, where E2E_TIMES is set, as
// for the tests at full size. Elsewhere the machine may be as slow as it likes.
func Prompt(t *testing.T, what string, took, limit time.Duration) {
	t.Helper()
	switch {
	case took <= limit:
	case os.Getenv("E2E_TIMES") != "":
		t.Errorf("%s took %s, more than %s", what, took, limit)
	default:
		t.Logf("%s took %s, more than %s", what, took, limit)
	}
}
