package scenarios

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	api "github.com/smithersai/caddy-smithers/internal/client"
)

// statusOf waits until a run has a status.
func statusOf(ctx context.Context, c *api.Client, runID, status string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		run, err := c.Run(ctx, runID)
		switch {
		case err == nil && run.Status == status:
			return nil
		case err != nil && !api.IsCode(err, "NOT_FOUND"): // the original's rows come late
			return err
		case err == nil && run.Ended():
			return fmt.Errorf("run %s is %s, not %s", runID, run.Status, status)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("run %s does not become %s: %w", runID, status, err)
		}
	}
}

// sortPoints orders the points of a plot by x.
func sortPoints(points [][2]float64) {
	slices.SortFunc(points, func(a, b [2]float64) int { return cmp.Compare(a[0], b[0]) })
}
