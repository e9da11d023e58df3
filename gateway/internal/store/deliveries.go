package store

import "encoding/json"

// Delivery is a row of gateway_deliveries: a webhook delivery that was acted upon.
type Delivery struct {
	ID          int64
	WorkflowKey string
	DeliveryID  string
	Digest      []byte // SHA-256 of the body
	Answer      json.RawMessage
	AtMs        int64
}

// maxDeliveries is how many deliveries are remembered, those of all workflows taken
// together. Only authentic ones are.
const maxDeliveries = 100_000

// Delivery returns a remembered delivery, or ErrNotFound.
func (v *View) Delivery(workflow, deliveryID string) (*Delivery, error) {
	return get(v, `SELECT id, workflow_key, delivery_id, digest, answer, at FROM gateway_deliveries
		WHERE workflow_key = ? AND delivery_id = ?`, []any{workflow, deliveryID}, func(r row) *Delivery {
		return &Delivery{ID: r.num(0), WorkflowKey: r.str(1), DeliveryID: r.str(2), Digest: r.json(3), Answer: r.json(4), AtMs: r.num(5)}
	})
}

// InsertDelivery remembers a delivery and forgets those that maxDeliveries others
// have followed. ErrExists if it is remembered already.
func (tx *Tx) InsertDelivery(d *Delivery) error {
	id, err := tx.insert("INSERT INTO gateway_deliveries (workflow_key, delivery_id, digest, answer, at) VALUES (?,?,?,?,?)",
		d.WorkflowKey, d.DeliveryID, d.Digest, d.Answer, d.AtMs)
	if err != nil {
		return asExists(err)
	}
	d.ID = id
	_, err = tx.write("DELETE FROM gateway_deliveries WHERE id <= ?", id-maxDeliveries)
	return err
}
