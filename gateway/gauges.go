package gateway

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// liveGauges read their values when they are collected: 0 while nothing runs, and NaN
// where 0 would be bad news.
func liveGauges(g *Gateway) []prometheus.Collector {
	gaugeOr := func(absent float64, name, help string, value func(*running) float64) prometheus.Collector {
		opts := prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help}
		return prometheus.NewGaugeFunc(opts, func() float64 {
			run, release := g.acquire()
			if run == nil {
				return absent
			}
			defer release()
			return value(run)
		})
	}
	gauge := func(name, help string, value func(*running) float64) prometheus.Collector {
		return gaugeOr(0, name, help, value)
	}
	return []prometheus.Collector{
		buildInfo(),
		activeSockets(g),
		newProcessGauges(g),
		gauge("connections_pre_auth", "Sockets that have not authenticated yet.", func(r *running) float64 {
			return float64(r.sockets.Stats().PreAuth)
		}),
		gauge("streams_active", "Run streams of all transports.", func(r *running) float64 { return float64(r.sockets.Stats().Streams) }),
		gauge("up", "1 while the gateway is ready.", func(*running) float64 { return truth(g.Ready() == nil) }),
		gauge("degraded", "1 while something needs attention; /health tells what.", func(r *running) float64 {
			return truth(len(r.degraded()) > 0)
		}),
		gauge("state_version", "Last committed state version.", func(r *running) float64 { return float64(r.store.StateVersion()) }),
		gauge("store_queue", "Units of work that wait for the committer.", func(r *running) float64 { return float64(r.store.Stats().Queue) }),
		gauge("store_wal_bytes", "Size of the write-ahead log.", func(r *running) float64 { return float64(r.store.Stats().WALBytes) }),
		gauge("store_db_bytes", "Size of the database file.", func(r *running) float64 { return float64(r.store.Stats().DBBytes) }),
		gauge("store_growth_bytes_per_day", "Growth of the database over the last six hours; 0 in the first hour.", func(r *running) float64 { return r.growth.perDay() }),
		gauge("store_disk_free_bytes", "What the disk of the database has left; -1 when not known.", func(r *running) float64 { return r.growth.freeBytes() }),
		gauge("store_full_seconds", "When the disk is full at that growth; +Inf for never.", func(r *running) float64 { return r.growth.full() }),
		gaugeOr(math.NaN(), "store_healthy", "1 while commits succeed, 0 while they fail, NaN while no database is open.", func(r *running) float64 { return truth(r.store.Healthy() == nil) }),
		gauge("runs_live", "Runs in memory.", func(r *running) float64 { return float64(r.engine.Stats().Live) }),
		gauge("runs_queued", "Runs that wait for a slot.", func(r *running) float64 { return float64(r.engine.Stats().Queued) }),
		gauge("runs_parked", "Waiting runs with a timer or deadline in memory.", func(r *running) float64 { return float64(r.engine.Stats().Wakes) }),
		gauge("task_attempts", "Task bodies in flight.", func(r *running) float64 { return float64(r.engine.Stats().Attempts) }),
		gauge("vms", "Live JavaScript machines.", func(r *running) float64 { return float64(r.vms().VMs) }),
		gauge("vms_abandoned", "JavaScript machines that could not be stopped.", func(r *running) float64 { return float64(r.vms().Abandoned) }),
		gauge("vm_memory_bytes", "Memory of all JavaScript machines.", func(r *running) float64 { return float64(r.vms().MemoryBytes) }),
		gauge("workflows", "Registered workflows.", func(r *running) float64 { return float64(len(r.engine.Workflows())) }),
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
