package jsmod

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// pureOp serves the host operations that need nothing but the VM; known is false for
// the others.
func (vm *VM) pureOp(op string, args []any) (result any, known bool, err error) {
	switch op {
	case "env":
		return vm.host.env, true, nil
	case "chunk":
		result, err = vm.loadChunk(argText(args, 0))
	case "duration":
		result, err = opDuration(args)
	case "random":
		result, err = opRandom(args)
	case "digest":
		result, err = opDigest(args)
	case "url":
		result, err = opURL(args)
	default:
		return nil, false, nil
	}
	return result, true, err
}

func opDuration(args []any) (any, error) {
	d, err := ParseDuration(argText(args, 0))
	if err != nil {
		return err.Error(), nil
	}
	return d.Milliseconds(), nil
}

func opRandom(args []any) (any, error) {
	n := argInt(args, 0)
	if n < 0 || n > 65536 {
		return nil, fmt.Errorf("getRandomValues: at most 65536 bytes at a time, not %d", n)
	}
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	return hex.EncodeToString(b), nil
}

// argText returns a string argument, "" when it is missing or something else.
func argText(args []any, i int) string {
	if i >= len(args) {
		return ""
	}
	s, _ := args[i].(string)
	return s
}

// argJSON returns a JSON argument, nil when it is undefined.
func argJSON(args []any, i int) []byte {
	if s := argText(args, i); s != "" {
		return []byte(s)
	}
	return nil
}

func argInt(args []any, i int) int {
	if i >= len(args) {
		return 0
	}
	switch n := args[i].(type) {
	case int:
		return n
	case float64:
		return int(n)
	}
	return 0
}

func argBool(args []any, i int) bool {
	if i >= len(args) {
		return false
	}
	b, _ := args[i].(bool)
	return b
}
