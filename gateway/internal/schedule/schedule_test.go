package schedule

import (
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on the system's

	"github.com/stretchr/testify/require"
)

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, pattern, zone, after string
		want                       []string
	}{
		{"every minute", "* * * * *", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"}},
		{"strictly after", "*/2 * * * * *", "UTC", "2026-01-01T00:00:02Z", []string{"2026-01-01T00:00:04Z", "2026-01-01T00:00:06Z"}},
		{"within a second", "*/2 * * * * *", "UTC", "2026-01-01T00:00:01.5Z", []string{"2026-01-01T00:00:02Z"}},
		{"alias", "@hourly", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-01T01:00:00Z"}},
		{"weekdays", "0 8 * * 1-5", "UTC", "2026-01-02T08:00:00Z", []string{"2026-01-05T08:00:00Z"}},
		{"Sunday is 7, too", "0 8 * * 7", "UTC", "2026-01-02T08:00:00Z", []string{"2026-01-04T08:00:00Z"}},
		{"leap day", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{"leap day by the hour", "0 * 29 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{"2028-02-28T23:00:00Z"}},
		{"31st", "0 0 31 * *", "UTC", "2026-03-31T00:00:00Z", []string{"2026-05-31T00:00:00Z"}},
		{"zone", "0 8 * * *", "America/New_York", "2026-07-01T00:00:00Z", []string{"2026-07-01T12:00:00Z"}},
		{"zone in the pattern", "CRON_TZ=America/New_York 0 8 * * *", "", "2026-01-10T00:00:00Z", []string{"2026-01-10T13:00:00Z"}},
		// Berlin: 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00.
		{"skipped time", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},
		{"repeated time", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"started in the repetition", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"after the change", "0 4 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", []string{"2026-10-25T03:00:00Z"}},
		{"real time forward", "*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
		{"real time back", "0 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", []string{"2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		{"real time over summer", "0 * 1 7 *", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{"2026-06-30T22:00:00Z", "2026-06-30T23:00:00Z"}},
		{"midnight that does not exist", "0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"}},
		{"half an hour", "15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", []string{"2026-04-04T14:15:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse(c.pattern, c.zone)
			require.NoError(t, err)
			at, err := time.Parse(time.RFC3339Nano, c.after)
			require.NoError(t, err)
			for _, want := range c.want {
				at, err = s.Next(at)
				require.NoError(t, err)
				require.Equal(t, want, at.UTC().Format(time.RFC3339Nano))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, pattern := range []string{"", "x", "61 * * * *", "* * * *", "* * * * * * * *", "0 0 30 2 *", "0 0 31 4 *", "* 25 * * *", "*/0 * * * *",
		"@sometimes", "CRON_TZ=UTC", "0 0 * * 8", string(make([]byte, MaxPattern+1))} {
		_, err := Parse(pattern, "")
		require.ErrorIs(t, err, ErrPattern, pattern)
	}
	for _, c := range [][2]string{{"* * * * *", "Mars/Olympus"}, {"CRON_TZ=Nowhere * * * * *", ""}, {"CRON_TZ=UTC * * * * *", "Europe/Berlin"},
		{"* * * * *", "../../etc/passwd"}} {
		_, err := Parse(c[0], c[1])
		require.ErrorIs(t, err, ErrTimeZone, c)
	}
}

func TestPatternsOfThePast(t *testing.T) {
	s, err := Parse("0 0 0 1 1 * 2020", "UTC")
	require.NoError(t, err)
	_, err = s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	require.ErrorIs(t, err, ErrOver)
}

// A tick is later than the time asked for, on a whole second, and finding it ends.
func FuzzNext(f *testing.F) {
	for _, seed := range []string{"* * * * *", "30 2 * * *", "0 0 29 2 *", "@daily", "0 0 L * *", "0 0 * * 5#2", "*/7 1-5/2 3,9 * MON"} {
		f.Add(seed, "Europe/Berlin", int64(1_790_000_000))
	}
	f.Add("0 0 31 2 *", "UTC", int64(0))
	f.Fuzz(func(t *testing.T, pattern, zone string, at int64) {
		s, err := Parse(pattern, zone)
		if err != nil {
			return
		}
		after := time.Unix(at%4_000_000_000, 0)
		next, err := s.Next(after)
		if err != nil {
			require.ErrorIs(t, err, ErrOver)
			return
		}
		require.True(t, next.After(after), "%s is not after %s", next, after)
		require.Zero(t, next.Nanosecond())
	})
}
