package frames

import "github.com/smithersai/caddy-smithers/gateway/internal/store"

// Beyond returns the events that made the frames of the present beyond a cut, in order.
// It reads the whole log.
func Beyond(v *store.View, runID string, c *Cut) ([]*store.Event, error) {
	h, s, err := load(v, runID)
	if err != nil {
		return nil, err
	}
	var events []*store.Event
	err = s.each(c.LogSeq, noEnd, func(ev *store.Event) (bool, error) {
		if Makes(ev.Type) && h.lives(ev.LogSeq) {
			events = append(events, ev)
		}
		return true, nil
	})
	return events, err
}
