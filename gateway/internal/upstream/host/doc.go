// Package host runs a user's Smithers module in a process of its own: the Bun runtime
// with the smithers-orchestrator that the module itself would import. A small script,
// compiled into this package, constructs its Gateway in trusted-proxy mode, lets the
// module register on it and listens on a private unix socket.
//
// Start returns when the first process is ready; from then on the Host restarts it
// whenever it ends, stops answering or grows beyond its memory limit, with growing
// pauses in between, until Stop. The socket and the identity headers stay the same
// over all processes of one Host. Runs that a process left behind when it ended go on
// in the next one.
//
// No process outlives the gateway, however that ends: the kernel kills the runtime
// where it can (Linux), a guard process kills the rest of its group, and the script
// exits when its supervisor is gone.
//
// Linux and macOS only: elsewhere Start fails with ErrUnsupported.
package host
