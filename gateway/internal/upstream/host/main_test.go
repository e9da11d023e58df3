package host

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host/hosttest"
)

func TestMain(m *testing.M) {
	if hosttest.Main() {
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
