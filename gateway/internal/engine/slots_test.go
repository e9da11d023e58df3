package engine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// queueOf makes slots for some VMs whose grants are noted.
func queueOf(vms int) (*slots, *[]string) {
	var granted []string
	s := &slots{capacity: vms * weightVM}
	s.grant = func(r *run) { granted = append(granted, r.id) }
	return s, &granted
}

func vmRun(user string, n int) *run {
	return &run{id: fmt.Sprintf("%s-%d", user, n), share: share{weight: weightVM, user: user}, box: newInbox()}
}

func TestUsersTakeTurns(t *testing.T) {
	s, granted := queueOf(1)
	require.True(t, s.try(share{weightVM, "mallory"}))
	for n := range 100 {
		s.wait(vmRun("mallory", n))
	}
	for n := range 2 {
		s.wait(vmRun("alice", n))
	}
	require.Empty(t, *granted)
	for range 5 {
		s.release(share{weightVM, "mallory"}) // who holds the slot matters to nobody here
		s.mu.Lock()
		for _, l := range s.users { // all that is held counts for mallory
			if l.user == "alice" && l.used > 0 {
				s.users["mallory"].used += l.used
				l.used = 0
			}
		}
		s.mu.Unlock()
	}
	require.Equal(t, []string{"mallory-0", "alice-0", "mallory-1", "alice-1", "mallory-2"}, *granted)
}

func TestOneUserNeverHoldsAllSlots(t *testing.T) {
	s, granted := queueOf(8)
	for n := range 8 {
		require.Equal(t, n < 6, s.try(share{weightVM, "mallory"}), n)
	}
	s.wait(vmRun("mallory", 0))
	require.Empty(t, *granted)
	require.True(t, s.try(share{weightVM, "alice"}), "who waits for its own part keeps nobody else out")
	s.wait(vmRun("alice", 0))
	require.Equal(t, []string{"alice-0"}, *granted)
	require.False(t, s.try(share{weightVM, "bob"}), "all are taken")
	s.wait(vmRun("bob", 0))
	s.release(share{weightVM, "mallory"})
	require.Equal(t, []string{"alice-0", "mallory-0"}, *granted, "first come, first served")
	s.release(share{weightVM, "alice"})
	require.Equal(t, []string{"alice-0", "mallory-0", "bob-0"}, *granted)
	used, queued := s.stats()
	require.Equal(t, 8*weightVM, used)
	require.Zero(t, queued)
	for user, n := range map[string]int{"mallory": 6, "alice": 1, "bob": 1} {
		for range n {
			s.release(share{weightVM, user})
		}
	}
	require.Empty(t, s.users, "nobody is remembered for nothing")
}

func TestIdleRunsGiveWay(t *testing.T) {
	s, _ := queueOf(8)
	idle := map[string]*run{}
	for _, user := range []string{"alice", "mallory"} {
		r := vmRun(user, 0)
		require.True(t, s.try(r.share))
		require.True(t, s.rests(r))
		idle[user] = r
	}
	for range 5 {
		require.True(t, s.try(share{weightVM, "mallory"}))
	}
	s.wait(vmRun("mallory", 1)) // over its own part: alice's run need not go
	require.False(t, idle["mallory"].box.empty())
	require.True(t, idle["alice"].box.empty())
	require.False(t, s.rests(idle["mallory"]), "its user waits")
	require.True(t, s.rests(idle["alice"]))
}

func TestWithdrawnRunKeepsNobodyWaiting(t *testing.T) {
	s, granted := queueOf(8)
	for range 5 {
		require.True(t, s.try(share{weightVM, "mallory"}))
	}
	for range 3 {
		require.True(t, s.try(share{weightVM, "alice"}))
	}
	heavy, light := vmRun("bob", 0), vmRun("carol", 0)
	light.share.weight = weightPlain
	s.wait(heavy)
	s.wait(light)
	s.release(share{weightPlain, "alice"})
	require.Empty(t, *granted, "the first waits for more")
	require.True(t, s.withdraw(heavy))
	require.False(t, s.withdraw(heavy))
	require.Equal(t, []string{"carol-0"}, *granted)
	require.False(t, s.withdraw(light), "it has its slots")
	_, queued := s.stats()
	require.Zero(t, queued)
	require.NotContains(t, s.users, "bob")
}

func TestQueueIsBounded(t *testing.T) {
	s, _ := queueOf(1)
	require.True(t, s.try(share{weightVM, "x"}))
	for n := range 3 {
		require.False(t, s.full("mallory", 3))
		s.wait(vmRun("mallory", n))
	}
	require.True(t, s.full("mallory", 3))
	require.False(t, s.full("alice", 3))
	for n := range 27 {
		s.wait(vmRun(fmt.Sprint("user", n), 0))
	}
	require.True(t, s.full("alice", 3), "ten times as many in all")
	require.Len(t, s.close(), 30)
}
