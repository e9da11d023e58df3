package observe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// sign is the signature of a webhook's body.
func sign(body string) string {
	mac := hmac.New(sha256.New, []byte("whsec"))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
