package eventlog

import "github.com/smithersai/caddy-smithers/gateway/internal/store"

// Event is what cursors yield. Connections use this name and need not know the store.
type Event = store.Event
