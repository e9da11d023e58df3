// Package wire holds the Smithers Gateway v1 protocol as data: frames, errors,
// limits, the method catalogue and the shapes of payloads. It imports the
// standard library only and keeps no state, so that clients, tools and tests can
// use it on its own.
package wire

// APIVersion stands in every response, event frame and RPC error, and in the
// header named HeaderAPIVersion of every HTTP response.
const APIVersion = "v1"

// HeaderAPIVersion is set on every HTTP response, refused upgrades included.
const HeaderAPIVersion = "X-Smithers-API-Version"

// Protocol is the frame protocol number negotiated by connect.
const Protocol = 1
