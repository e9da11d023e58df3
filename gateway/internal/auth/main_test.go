package auth

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("AUTH_TEST_ISSUE"); path != "" {
		issueAsProcess(path)
		return
	}
	goleak.VerifyTestMain(m)
}
