package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// signedIn starts a gateway and signs in with every scope of a run.
func (s *site) signedIn() *process {
	s.t.Helper()
	token := s.issue(allScopes, "--user-id", "alice")
	p := s.start().as(token)
	p.wait("the token to count", func() bool { return p.Call(s.t.Context(), "listRuns", nil, nil) == nil })
	return p
}

func TestStreamSurvivesCuts(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	p := s.signedIn()
	const steps = 12
	w.hold("t6")
	id := p.launchRun("steps", map[string]any{"url": w.URL, "count": steps})

	// Every connection takes a few events and is cut; the next goes on behind them.
	var seen []*client.RunEvent
	last := int64(0)
	for n := 0; len(seen) == 0 || seen[len(seen)-1].Event != "run.completed"; n++ {
		if n == 3 {
			w.release("t6") // also a live stream, not only a replay, was cut
		}
		socket := p.dial()
		opened, err := socket.Stream(t.Context(), id, &last)
		require.NoError(t, err)
		took := 0
		err = socket.Follow(t.Context(), opened.StreamID, func(i client.Item) bool {
			require.NotNil(t, i.Event, "neither a gap nor an error")
			require.Equal(t, last+1, i.Event.Seq)
			last = i.Event.Seq
			seen = append(seen, i.Event)
			took++
			return took < 5 && i.Event.Event != "run.completed"
		})
		require.NoError(t, err)
		socket.Cut()
	}
	require.Equal(t, names(p.history(id)), names(seen))
	require.Len(t, seen, 3*steps+1)
}

func TestKillInTheMiddle(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	p := s.signedIn()
	const steps = 6
	w.hold("t3")
	id := p.launchRun("steps", map[string]any{"url": w.URL, "count": steps})
	w.arrived(t, "t3", 1)
	before := p.history(id)
	p.kill()
	w.release("t3")

	p = s.start().as(p.Token)
	p.status(id, "finished")
	for i, want := range []int{1, 1, 1, 2, 1, 1} {
		require.Equal(t, want, w.count("t"+string(rune('0'+i))), "task t%d", i)
	}
	all := p.history(id)
	require.Equal(t, names(before), names(all[:len(before)]), "what was seen is still there under its number")
	for i, e := range before {
		require.JSONEq(t, string(e.Payload), string(all[i].Payload))
	}
	rest, gap := p.after(id, before[len(before)-1].Seq)
	require.Nil(t, gap)
	require.Equal(t, names(all[len(before):]), names(rest))
	require.Equal(t, 1, count(names(all), "run.completed"))
	require.Equal(t, 1, count(names(all), "node.finished t2"))
	require.Equal(t, 2, count(names(all), "node.started t3"), "a new attempt")
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	p := s.signedIn()

	launched := make([]string, 5)
	for i := range launched {
		launched[i] = p.launchRun("gated", map[string]any{"url": w.URL})
	}
	p.kill() // the answers had arrived
	p = s.start().as(p.Token)
	for _, id := range launched {
		p.status(id, "waiting-approval")
		require.NoError(t, p.decide(id, "gate", true))
	}
	p.kill()
	p = s.start().as(p.Token)
	for _, id := range launched {
		p.status(id, "finished")
		require.Equal(t, 1, count(names(p.history(id)), "approval.decided gate"))
		err := p.decide(id, "gate", false)
		require.True(t, client.IsCode(err, "AlreadyDecided"), err)
		require.Equal(t, 1, count(names(p.history(id)), "node.finished before"))
		require.Equal(t, 1, count(names(p.history(id)), "node.finished after"))
	}
}

func count(list []string, what string) int {
	n := 0
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}

func TestWindowGivesOneExactGap(t *testing.T) {
	s := newSite(t)
	s.env = []string{"SMITHERS_GATEWAY_EVENT_WINDOW=50"}
	p := s.signedIn()
	id := p.launchRun("chatty", map[string]any{"lines": 200})
	p.status(id, "waiting-approval")

	events, gap := p.after(id, 10)
	require.NotNil(t, gap)
	require.Equal(t, int64(11), gap.FromSeq)
	require.Equal(t, gap.ToSeq+1, events[0].Seq)
	require.Len(t, events, 50)
	require.Contains(t, string(gap.Snapshot), `"waiting-approval"`)

	last := events[len(events)-1].Seq
	events, gap = p.after(id, last-5)
	require.Nil(t, gap)
	require.Len(t, events, 5)

	_, err := p.dial().Stream(t.Context(), id, new(last+1))
	require.True(t, client.IsCode(err, "SeqOutOfRange"), err)

	// The same after a restart, when nothing is in memory.
	p.kill()
	p = s.start().as(p.Token)
	again, gap := p.after(id, 10)
	require.NotNil(t, gap)
	require.True(t, slices.IsSortedFunc(again, func(a, b *client.RunEvent) int { return int(a.Seq - b.Seq) }))
	require.Equal(t, last, again[len(again)-1].Seq)
}

func TestLateSubscriberOfALongFinishedRun(t *testing.T) {
	s := newSite(t)
	p := s.signedIn()
	id := p.launchRun("quick", map[string]any{})
	p.status(id, "finished")
	all := p.history(id)
	p.kill()
	p = s.start().as(p.Token)
	require.Equal(t, names(all), names(p.history(id)))
	rest, gap := p.after(id, 3)
	require.Nil(t, gap)
	require.Equal(t, []string{"run.completed"}, names(rest))
}
