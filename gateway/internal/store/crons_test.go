package store

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCrons(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	put := func(c Cron) {
		require.NoError(t, s.Update(ctx, func(tx *Tx) error { return tx.PutCron(&c) }))
	}
	put(Cron{CronID: "late", WorkflowKey: "w", Pattern: "* * * * *", Enabled: true, CreatedAtMs: 1, NextRunAtMs: 300})
	put(Cron{CronID: "soon", WorkflowKey: "w", Pattern: "@hourly", TimeZone: "UTC", Enabled: true, CreatedAtMs: 2, NextRunAtMs: 200})
	put(Cron{CronID: "off", WorkflowKey: "w", CreatedAtMs: 3, NextRunAtMs: 100})
	put(Cron{CronID: "removed", WorkflowKey: "w", Enabled: true, Registered: true, Removed: true, CreatedAtMs: 4, NextRunAtMs: 100})
	put(Cron{CronID: "idle", WorkflowKey: "w", Enabled: true, Registered: true, Idle: true, CreatedAtMs: 5, NextRunAtMs: 100})
	put(Cron{CronID: "over", WorkflowKey: "w", Enabled: true, CreatedAtMs: 6})

	view(t, s, func(v *View) {
		next, err := v.NextCron()
		require.NoError(t, err)
		require.EqualValues(t, 200, next)
		due, err := v.DueCrons(299, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		require.Equal(t, Cron{ID: due[0].ID, CronID: "soon", WorkflowKey: "w", Pattern: "@hourly", TimeZone: "UTC", Enabled: true,
			CreatedAtMs: 2, NextRunAtMs: 200}, *due[0])
		due, err = v.DueCrons(1000, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"soon", "late"}, []string{due[0].CronID, due[1].CronID})
		all, err := v.Crons()
		require.NoError(t, err)
		require.Len(t, all, 6)
		require.Equal(t, "late", all[0].CronID)
	})

	put(Cron{CronID: "soon", WorkflowKey: "w", Pattern: "@daily", Enabled: true, CreatedAtMs: 99, LastRunAtMs: 7, NextRunAtMs: 900, Error: "no"})
	view(t, s, func(v *View) {
		c, err := v.Cron("soon")
		require.NoError(t, err)
		require.EqualValues(t, 2, c.CreatedAtMs, "it is the same schedule")
		require.Equal(t, "no", c.Error)
		_, err = v.Cron("nope")
		require.ErrorIs(t, err, ErrNotFound)
	})
	require.NoError(t, s.Update(ctx, func(tx *Tx) error { return tx.DeleteCron("soon") }))
	require.ErrorIs(t, s.Update(ctx, func(tx *Tx) error { return tx.DeleteCron("soon") }), ErrNotFound)
}

func TestDeliveriesAreRememberedAndBounded(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	one := Delivery{WorkflowKey: "w", DeliveryID: "d1", Digest: []byte{1}, Answer: json.RawMessage(`{}`), AtMs: 5}
	require.NoError(t, s.Update(ctx, func(tx *Tx) error { return tx.InsertDelivery(&one) }))
	again := one
	require.ErrorIs(t, s.Update(ctx, func(tx *Tx) error { return tx.InsertDelivery(&again) }), ErrExists)
	other := Delivery{WorkflowKey: "v", DeliveryID: "d1", Digest: []byte{1}, Answer: json.RawMessage(`{}`)}
	require.NoError(t, s.Update(ctx, func(tx *Tx) error { return tx.InsertDelivery(&other) }), "ids belong to their workflow")
	view(t, s, func(v *View) {
		d, err := v.Delivery("w", "d1")
		require.NoError(t, err)
		require.Equal(t, one, *d)
	})
	require.NoError(t, s.Update(ctx, func(tx *Tx) error {
		for i := range maxDeliveries {
			d := Delivery{WorkflowKey: "w", DeliveryID: fmt.Sprint("n", i), Digest: []byte{1}, Answer: json.RawMessage(`{}`)}
			if err := tx.InsertDelivery(&d); err != nil {
				return err
			}
		}
		return nil
	}))
	view(t, s, func(v *View) {
		_, err := v.Delivery("w", "d1")
		require.ErrorIs(t, err, ErrNotFound)
		n, err := v.c.number("SELECT count(*) FROM gateway_deliveries")
		require.NoError(t, err)
		require.EqualValues(t, maxDeliveries, n)
	})
}
