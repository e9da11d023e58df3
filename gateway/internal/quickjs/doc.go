// Package quickjs is a thin layer over the engine in modernc.org/libquickjs: one VM is
// one runtime with one context, a few calls, and memory of its own.
//
// All memory of a VM comes from its arena, and nothing of the engine's state lies
// outside of it between two calls. That makes three things cheap. Close gives the arena
// back to the operating system instead of freeing thousands of objects. Snapshot copies
// what the arena holds, and Reset copies it back to the same addresses: the VM is then,
// byte for byte, what it was when the snapshot was taken, whatever ran in between. And
// Footprint knows what a VM costs.
//
// A call into the engine needs a Thread, which holds the stack of the translated C code.
// Threads belong to goroutines, not to VMs, so that a VM which waits has no stack.
package quickjs
