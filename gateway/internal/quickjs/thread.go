package quickjs

import "modernc.org/libc"

// Thread is the stack of the translated C code and a buffer for strings on their way
// into the engine. One goroutine uses it at a time.
type Thread struct {
	tls    *libc.TLS
	buffer uintptr
	size   int
}

// keptBuffer is the largest buffer that a thread keeps for the next string.
const keptBuffer = 1 << 20

// NewThread makes a thread; Close it.
func NewThread() *Thread { return &Thread{tls: libc.NewTLS()} }

// Close frees the thread. No VM may be running on it.
func (t *Thread) Close() {
	libc.Xfree(t.tls, t.buffer)
	t.tls.Close()
	*t = Thread{}
}

// cString copies a string to where the engine can read it, with a NUL behind it. It
// stays there until the next call. 0 means that there is no memory.
func (t *Thread) cString(s string) uintptr {
	if need := len(s) + 1; need > t.size || t.size > keptBuffer {
		libc.Xfree(t.tls, t.buffer)
		size := max(need, 4<<10)
		if t.buffer = libc.Xmalloc(t.tls, libc.Tsize_t(size)); t.buffer == 0 {
			t.size = 0
			return 0
		}
		t.size = size
	}
	b := memory(t.buffer, uintptr(len(s))+1)
	copy(b, s)
	b[len(s)] = 0
	return t.buffer
}
