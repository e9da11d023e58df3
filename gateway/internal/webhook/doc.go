// Package webhook turns signed deliveries of other systems into signals and runs. A
// delivery is believed because of its signature over the raw body and for no other
// reason; nothing of the body is read before that was checked.
package webhook
