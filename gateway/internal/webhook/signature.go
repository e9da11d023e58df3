package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Sign returns the signature of a body as the header must carry it.
func Sign(secret, prefix string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body) // never fails
	return prefix + hex.EncodeToString(mac.Sum(nil))
}

// Verify compares a signature with that of the body, in constant time. It must match
// byte for byte. Nothing verifies against an empty secret.
func Verify(secret, prefix, signature string, body []byte) bool {
	return secret != "" && hmac.Equal([]byte(signature), []byte(Sign(secret, prefix, body)))
}
