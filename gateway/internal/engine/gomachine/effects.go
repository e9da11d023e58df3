package gomachine

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// effect performs a journalled read or write. Its node id cannot be one of the
// user's: '$' is not allowed in those.
func (c *runContext) effect(method, op string, args any) (json.RawMessage, error) {
	co := c.current(method)
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	c.m.effects++
	id := "$" + op + ":" + strconv.Itoa(c.m.effects)
	return c.request(co, id, program.Request{Kind: program.KindEffect, Effect: &program.EffectOptions{Op: op, Args: raw}})
}

// memory implements workflow.Memory.
type memory struct {
	c         *runContext
	namespace string
}

func (c *runContext) Memory(namespace string) workflow.Memory {
	return &memory{c: c, namespace: namespace}
}

func (f *memory) Get(key string, into any) (bool, error) {
	raw, err := f.c.effect("Memory.Get", "memory.get", map[string]string{"namespace": f.namespace, "key": key})
	if err != nil {
		return false, err
	}
	if len(raw) == 0 || string(raw) == "null" {
		return false, nil
	}
	return true, decode("fact "+key, raw, into)
}

func (f *memory) Set(key string, value any) error {
	_, err := f.c.effect("Memory.Set", "memory.set", map[string]any{"namespace": f.namespace, "key": key, "value": value})
	return err
}

func (f *memory) Delete(key string) error {
	_, err := f.c.effect("Memory.Delete", "memory.delete", map[string]string{"namespace": f.namespace, "key": key})
	return err
}

func (c *runContext) Score(s workflow.Score) error {
	_, err := c.effect("Score", "score", map[string]any{
		"scorer": s.Scorer, "nodeId": s.Node, "score": s.Score, "reason": s.Reason, "meta": s.Meta,
	})
	return err
}
