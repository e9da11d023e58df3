package gomachine

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutineID returns the number that the runtime prints for the calling
// goroutine. It only serves to catch a Context that leaked into a task or into a
// goroutine of the user's, which would break replay silently.
func goroutineID() int64 {
	var buf [40]byte
	line := buf[:runtime.Stack(buf[:], false)]
	line = bytes.TrimPrefix(line, []byte("goroutine "))
	if i := bytes.IndexByte(line, ' '); i > 0 {
		line = line[:i]
	}
	id, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return -1
	}
	return id
}
