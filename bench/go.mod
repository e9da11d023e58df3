module github.com/smithersai/caddy-smithers/bench

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/smithersai/caddy-smithers v0.0.0
)

replace github.com/smithersai/caddy-smithers => ..
