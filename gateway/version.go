package gateway

// Version is what this gateway calls itself: identity.version on the wire, the
// build information metric and the version command. A release sets it with
// -ldflags "-X github.com/smithersai/caddy-smithers/gateway.Version=1.2.3".
var Version = "0.1.0-dev"
