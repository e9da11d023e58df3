package host

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary play Bun: started as the runtime of a Host, it speaks
// the script's side of the conversation.
func TestMain(m *testing.M) {
	if role := os.Getenv(playEnv); role != "" {
		play(role)
		return
	}
	goleak.VerifyTestMain(m)
}
