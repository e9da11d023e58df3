package engine

import (
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// ownRun reads a run that is to be acted on. The copy of one that an upstream executes is
// refused: the upstream would not hear of what is done to it here, and its log would go
// on behind events that it has never had.
func ownRun(v *store.View, runID string) (*store.Run, error) {
	row, err := v.Run(runID)
	if err == nil && row.Upstream {
		err = errElsewhere(row)
	}
	if err != nil {
		return nil, err
	}
	return row, nil
}

func errElsewhere(row *store.Run) error {
	return wire.Errorf(wire.CodeInvalidRequest, "Run %s is executed by Smithers, and only there it can be acted on.", row.RunID)
}
