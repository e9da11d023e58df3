package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var errUnit = errors.New("the unit fails")

// batchUnit is a unit of a test that appends an event to its run, so that its number shows
// what was there.
type batchUnit struct {
	repeatable, looks, fails, panics bool
	failsAgain                       bool // when it runs a second time

	runs int
	err  error
	ev   *Event
}

func (u *batchUnit) do(i int) func(tx *Tx) error {
	return func(tx *Tx) error {
		u.runs++
		if !u.looks {
			u.ev = pushed(i)
			if err := tx.Append("r", u.ev); err != nil {
				return err
			}
			if err := tx.UpsertNode("r", &Node{NodeID: fmt.Sprint("n", i)}); err != nil {
				return err
			}
		}
		switch {
		case u.panics:
			panic("of a test")
		case u.fails, u.failsAgain && u.runs > 1:
			return errUnit
		}
		return nil
	}
}

// inOneTransaction runs units together and checks that those which failed, and only those,
// left nothing behind.
func inOneTransaction(t *testing.T, s *Store, units ...*batchUnit) {
	t.Helper()
	var told []*Event
	s.OnCommit(func(events []*Event) { told = append(told, events...) })
	withRun(t, s, "r")
	commits := s.Commits()
	begun, hold, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.Submit(func(*Tx) error { close(begun); <-hold; return nil }, nil)
	<-begun // alone, and what comes now is in the next transaction
	for i, u := range units {
		submit := s.Submit
		if u.repeatable {
			submit = s.SubmitRepeatable
		}
		submit(u.do(i), func(err error) {
			u.err = err
			if i == len(units)-1 {
				close(done)
			}
		})
	}
	close(hold)
	<-done
	require.EqualValues(t, 2, s.Commits()-commits)
	var wantNodes []string
	var wantEvents []*Event
	for i, u := range units {
		if u.fails || u.panics || u.failsAgain && u.runs > 1 {
			require.Error(t, u.err, "unit %d", i)
			continue
		}
		require.NoError(t, u.err, "unit %d", i)
		if !u.looks {
			wantNodes = append(wantNodes, fmt.Sprint("n", i))
			wantEvents = append(wantEvents, u.ev)
			require.EqualValues(t, len(wantEvents), u.ev.Seq)
			require.EqualValues(t, len(wantEvents), u.ev.StateVersion)
		}
	}
	view(t, s, func(v *View) {
		nodes, err := v.Nodes("r")
		require.NoError(t, err)
		var got []string
		for _, n := range nodes {
			got = append(got, n.NodeID)
		}
		slices.Sort(wantNodes)
		slices.Sort(got)
		require.Equal(t, wantNodes, got)
		events, err := v.EventsLog("r", -1, 100)
		require.NoError(t, err)
		same(t, wantEvents, events)
	})
	same(t, wantEvents, told)
	require.EqualValues(t, len(wantEvents), s.StateVersion())
}

func runsOf(units []*batchUnit) (runs []int) {
	for _, u := range units {
		runs = append(runs, u.runs)
	}
	return runs
}

func TestBareUnits(t *testing.T) {
	again, once := batchUnit{repeatable: true}, batchUnit{}
	with := func(u batchUnit, change func(*batchUnit)) batchUnit { change(&u); return u }
	fails := func(u *batchUnit) { u.fails = true }
	panics := func(u *batchUnit) { u.panics = true }
	looks := func(u *batchUnit) { u.looks = true }
	failsAgain := func(u *batchUnit) { u.failsAgain = true }
	for name, c := range map[string]struct {
		units []batchUnit
		runs  []int
	}{
		"none fails":                {[]batchUnit{again, again, again}, []int{1, 1, 1}},
		"the last fails":            {[]batchUnit{again, again, with(again, fails)}, []int{2, 2, 1}},
		"the last panics":           {[]batchUnit{again, again, with(again, panics)}, []int{2, 2, 1}},
		"one in between fails":      {[]batchUnit{again, with(again, fails), again, with(again, fails)}, []int{2, 1, 1, 1}},
		"the first fails":           {[]batchUnit{with(again, fails), again, again}, []int{1, 1, 1}},
		"the first two fail":        {[]batchUnit{with(again, fails), with(once, fails), again}, []int{1, 1, 1}},
		"one that looked, too":      {[]batchUnit{again, with(again, looks), with(again, fails)}, []int{2, 2, 1}},
		"it looked before":          {[]batchUnit{with(once, looks), again, with(again, fails)}, []int{1, 2, 1}},
		"fails having looked":       {[]batchUnit{again, {repeatable: true, looks: true, fails: true}, again}, []int{1, 1, 1}},
		"it runs once":              {[]batchUnit{again, once, with(again, fails), again}, []int{1, 1, 1, 1}},
		"it looks once":             {[]batchUnit{again, with(once, looks), with(again, fails)}, []int{1, 1, 1}},
		"it runs once and fails":    {[]batchUnit{again, with(once, fails), again}, []int{1, 1, 1}},
		"first, and runs once":      {[]batchUnit{once, again, with(again, fails)}, []int{1, 1, 1}},
		"fails when it runs again":  {[]batchUnit{again, with(again, failsAgain), again, with(again, fails), again}, []int{2, 2, 2, 1, 1}},
		"fails again, and is first": {[]batchUnit{with(again, failsAgain), again, with(again, fails)}, []int{2, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			units := make([]*batchUnit, len(c.units))
			for i := range units {
				units[i] = &c.units[i]
			}
			inOneTransaction(t, open(t), units...)
			require.Equal(t, c.runs, runsOf(units))
		})
	}
}

// Any mixture of units leaves what those leave that did not fail.
func TestAnyUnitsTogether(t *testing.T) {
	for seed := range uint64(25) {
		dice := rand.New(rand.NewPCG(seed, 1))
		units := make([]*batchUnit, 1+dice.IntN(8))
		for i := range units {
			units[i] = &batchUnit{repeatable: dice.IntN(4) > 0, looks: dice.IntN(4) == 0, fails: dice.IntN(4) == 0,
				panics: dice.IntN(9) == 0, failsAgain: dice.IntN(5) == 0}
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { inOneTransaction(t, open(t), units...) })
	}
}

// No unit is kept after its transaction: it may hold on to much.
func TestUnitsAreLetGo(t *testing.T) {
	s := open(t)
	inOneTransaction(t, s, &batchUnit{repeatable: true}, &batchUnit{repeatable: true})
	tx := newTx(s)
	tx.begin()
	tx.leave(&unit{repeatable: true})
	require.Empty(t, tx.ran, "it has not written")
	tx.wrote = true
	tx.leave(&unit{repeatable: true})
	require.Len(t, tx.ran, 1)
	kept := tx.ran
	tx.end()
	require.Equal(t, []*unit{nil}, kept)
}
