package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestThrottle(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	th := NewThrottle(3)
	th.now = func() time.Time { return now }
	for n := range 3 {
		refusal, first := th.Failed("192.0.2.1:1000")
		require.Nil(t, refusal)
		require.Equal(t, n == 2, first)
	}
	refusal, first := th.Failed("192.0.2.1:2000")
	require.Equal(t, wire.CodeRateLimited, refusal.Code)
	require.Equal(t, 429, wire.Status(refusal.Code))
	require.Equal(t, int64(20_000), refusal.Extra["retryAfterMs"])
	require.False(t, first)
	refusal, _ = th.Failed("192.0.2.2:1")
	require.Nil(t, refusal, "another address")

	now = now.Add(20 * time.Second)
	refusal, _ = th.Failed("192.0.2.1")
	require.Nil(t, refusal, "one is forgotten each third of a minute")
	refusal, _ = th.Failed("192.0.2.1")
	require.NotNil(t, refusal)
	th.Configure(100)
	refusal, _ = th.Failed("192.0.2.1")
	require.Nil(t, refusal)
}

func TestThrottleForgets(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	th := NewThrottle(1)
	th.now = func() time.Time { return now }
	for n := range maxThrottled + 10 {
		th.Failed(fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
	}
	require.LessOrEqual(t, len(th.spent), maxThrottled)
	now = now.Add(time.Hour)
	th.Failed("192.0.2.1")
	th.sweep(now)
	require.Len(t, th.spent, 1)
}

// Who fails from ever new addresses neither makes each failure cost a look at all of
// them, nor the addresses that fail again and again forgotten.
func TestThrottleIsSweptSeldom(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	th := NewThrottle(2)
	th.now = func() time.Time { return now }
	th.Failed("192.0.2.1")
	th.Failed("192.0.2.1")
	sweeps, last := 0, 0
	for n := range 2 * maxThrottled {
		th.Failed(fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff))
		if len(th.spent) < last {
			sweeps++
		}
		last = len(th.spent)
	}
	require.LessOrEqual(t, sweeps, 16)
	require.LessOrEqual(t, last, maxThrottled)
	refusal, _ := th.Failed("192.0.2.1")
	require.NotNil(t, refusal)
}

func TestAddressKey(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "192.0.2.1": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[2001:db8::1:2]:80": "2001:db8::/64", "2001:db8::5": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "@": "@", "": "",
	} {
		require.Equal(t, want, AddressKey(address), address)
	}
}
