// Command catalogue prints what gateway/wire knows of the protocol as JSON, for the
// comparison with the official contract package.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

type method struct {
	Name       string   `json:"name"`
	Aliases    []string `json:"aliases"`
	Scope      string   `json:"scope"`
	Transport  string   `json:"transport"`
	Catalogued bool     `json:"catalogued"`
}

type catalogue struct {
	APIVersion string          `json:"apiVersion"`
	Protocol   int             `json:"protocol"`
	Methods    []method        `json:"methods"`
	Status     map[string]int  `json:"status"`  // HTTP status of each error code given as an argument
	Implied    map[string]bool `json:"implied"` // "granted>required", for each pair of scopes given
}

// main takes a JSON object {"errors":[…],"granted":[…],"required":[…]} on stdin: the
// names to look up, so that the comparison misses none of either side.
func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

func run() error {
	var ask struct{ Errors, Granted, Required []string }
	if err := json.NewDecoder(os.Stdin).Decode(&ask); err != nil {
		return fmt.Errorf("reading the question: %w", err)
	}
	c := catalogue{APIVersion: wire.APIVersion, Protocol: wire.Protocol, Status: map[string]int{}, Implied: map[string]bool{}}
	for _, m := range wire.Methods() {
		transport := "http+websocket"
		if m.WSOnly {
			transport = "websocket"
		}
		c.Methods = append(c.Methods, method{m.Name, append([]string{}, m.Legacy...), m.Scope, transport, m.Catalogued})
	}
	for _, code := range ask.Errors {
		c.Status[code] = wire.Status(code)
	}
	for _, granted := range ask.Granted {
		for _, required := range ask.Required {
			c.Implied[granted+">"+required] = wire.Implies([]string{granted}, required)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}
