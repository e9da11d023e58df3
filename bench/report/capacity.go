package report

import (
	"fmt"
	"io"
)

// unit is one thing that a host has, turned into how many of something it carries.
type unit struct {
	carries  string
	scenario string
	figure   string
	of       string // what the figure is called in the table
	count    func(median float64) float64
}

const kib = 1 << 20 // KiB in a GiB

// perGiB turns a cost in KiB into how many a GiB holds.
func perGiB(kibibytes float64) float64 { return kib / kibibytes }

// units are the rows of the section on capacity.
var units = []unit{
	{"the empty gateway, MiB of memory", "parked", "memory of the empty gateway", "MiB", func(v float64) float64 { return v }},
	{"idle sockets a GiB of memory", "sockets", "memory of one of 10000 sockets", "KiB a socket", perGiB},
	{"idle sockets with a stream a GiB of memory", "sockets", "memory of one of 10000 sockets with a stream", "KiB a socket", perGiB},
	{"script runs in a task a GiB of memory", "inflight", "memory of a run in flight", "KiB a run", perGiB},
	{"finished one-task runs a GiB of disk", "inflight", "disk of a finished run", "KiB a run", perGiB},
	{"bytes on disk around a line", "start", "bytes on disk around a line of 8 KiB", "B", func(v float64) float64 { return v }},
	{"frames a second and core, 64 sockets", "fanout", "server CPU per million frames, 64 sockets", "s of CPU a million", func(v float64) float64 { return 1e6 / v }},
	{"frames a second and core, 1,000 sockets", "fanout", "server CPU per million frames, 1000 sockets", "s of CPU a million", func(v float64) float64 { return 1e6 / v }},
	{"durable events a second of one run", "fanout", "frames/s to 1 sockets", "measured", func(v float64) float64 { return v }},
	{"getRun calls a second and core", "rpc", "getRun server CPU per million calls", "s of CPU a million", func(v float64) float64 { return 1e6 / v }},
	{"one-task script runs a second of this host", "launch", "runs/s, 8 in flight", "measured", func(v float64) float64 { return v }},
	{"connects a second and core, 1,000 live runs in the hello", "connects", "server CPU of a connect, 4 at a time", "ms of CPU", func(v float64) float64 { return 1e3 / v }},
}

// capacity writes what the figures mean for a host. Rows without a figure are left out.
func capacity(w io.Writer, results []*Result) {
	begun := false
	for _, u := range units {
		for _, r := range results {
			if r.Scenario != u.scenario {
				continue
			}
			f := r.Find("gateway", u.figure)
			if f == nil || f.Median() <= 0 {
				continue
			}
			if !begun {
				fmt.Fprint(w, "\n## Capacity\n\nThe same figures as numbers for planning; [docs/capacity.md](../docs/capacity.md) has the arithmetic. A core is one of the machine above.\n\n"+
					"| one host carries | number | from |\n| --- | ---: | --- |\n")
				begun = true
			}
			fmt.Fprintf(w, "| %s | %s | %s %s |\n", u.carries, Number(u.count(f.Median())), Number(f.Median()), u.of)
		}
	}
}
